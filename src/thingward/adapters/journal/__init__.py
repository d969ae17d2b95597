"""The append-only log on disk, and its twin in memory."""
