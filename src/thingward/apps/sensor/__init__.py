"""Sensor: packets of one interface or capture to observations for core, with a spool while core is away."""
