"""Log files that others write, and syslog that others send."""
