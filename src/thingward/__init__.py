"""The self-hosted security plane for connected things."""

from thingward._version import __version__

__all__ = ["__version__"]
