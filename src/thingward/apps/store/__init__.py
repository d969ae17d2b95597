"""Store: the only process that opens the event store's file; it answers questions and decides nothing."""
