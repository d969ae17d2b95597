"""What should run: signed releases and rollouts."""
