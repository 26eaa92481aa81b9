"""The paper's experiments, on any exported model and any images.

What they take as a method is a function, `maps.Maps`: they know none by name.
"""
