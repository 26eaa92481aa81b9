"""Hold what a model says of itself against witnesses that do not share its making."""
