"""Driving the governor: read every guest, decide, write, remember."""
