"""Narrow Protocols towards every outside engine, one file each, tenant first."""
