"""Frozen values of the domain: no I/O, no behaviour beyond validation."""
