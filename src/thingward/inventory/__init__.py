"""What exists: discovery, identification, one record per device, its profile."""
