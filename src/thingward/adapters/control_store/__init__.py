"""Control data in SQLite or PostgreSQL, and its twin in memory."""
