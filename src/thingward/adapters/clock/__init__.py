"""The time of the machine, and one that is moved by hand."""
