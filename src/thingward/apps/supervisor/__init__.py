"""Starts the platform's processes, keeps them running, and tells people where the console is."""
