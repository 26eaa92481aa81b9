"""A fixed batch made symbolic, where that is sound."""
