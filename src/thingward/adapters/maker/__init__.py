"""Who made a network interface, by the IEEE's registry."""
