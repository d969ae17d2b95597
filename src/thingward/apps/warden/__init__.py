"""The warden: the only process that may touch the network's rules; it reads nothing that comes from the network."""
