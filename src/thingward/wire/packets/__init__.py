"""Packet kernels: the only code that imports Numba. Import it where packets are read, never at a process's start."""
