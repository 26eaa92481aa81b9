"""The working copy of a model's graph: its shapes, its active steps, and how to write into it."""
