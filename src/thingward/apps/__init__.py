"""Processes and faces: the only entry points."""
