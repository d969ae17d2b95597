"""Signers: keys that sign and stay where they are."""
