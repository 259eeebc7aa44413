"""wirt: one host for every kind of guest."""

__version__ = "0.1.0"
