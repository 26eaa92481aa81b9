"""Where the time of a model goes: by part, site and operator, from ONNX Runtime's own profiler."""

from fg_onnx.profiling.profiling import profile

__all__ = ["profile"]
