"""One file per family of rules; the registry lists them."""
