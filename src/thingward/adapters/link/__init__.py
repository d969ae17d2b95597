"""The link between processes over Unix sockets, its spool, and its twin in memory."""
