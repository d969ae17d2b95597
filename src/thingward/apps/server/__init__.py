"""REST, console and event stream: reads, asks the store, and hands every intent of a person to core."""
