"""Sources of live packets."""
