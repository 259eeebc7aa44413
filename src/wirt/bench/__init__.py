"""Benchmarks of sharing: an office's day on a simulated host, under one policy after another."""
