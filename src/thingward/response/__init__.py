"""What to do: cases, plans with limits, actions, undo, outcomes."""
