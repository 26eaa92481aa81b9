"""``python -m fg_onnx.cli`` is ``fg-onnx``."""

from . import main

main()
