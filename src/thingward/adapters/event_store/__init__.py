"""Security events in DuckDB, over the link, and in memory."""
