"""Benchmarks: commands that print tables, never assertions on time."""
