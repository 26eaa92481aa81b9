"""Where the channels and the spatial grid of a tensor lie."""
