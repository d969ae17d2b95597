"""Logs: follows what other sensors write (Zeek, Suricata) and what devices send (syslog), and hands it to core."""
