"""Supervisor: starts the platform's processes, keeps them running, and prints where the console is."""
