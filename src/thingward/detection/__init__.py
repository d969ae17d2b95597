"""What looks wrong: events to findings to alerts."""
