"""One file per port and engine."""
