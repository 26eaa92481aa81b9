"""The same images through two models: whether these agree, and explain alike."""
