"""From a file to a sound model of a sufficient opset."""
