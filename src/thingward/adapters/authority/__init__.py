"""Certificate authorities: where the keys are that sign devices' certificates."""
