"""The version of fg-onnx."""

__version__ = "0.1.0"
