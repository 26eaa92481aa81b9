"""Full-gradients of exported CNNs, computed inside the exported graph itself.

    instrumented = fg_onnx.instrument("model.onnx")
    attribution = fg_onnx.Session(instrumented).explain(images)
    attribution.residual  # completeness, per image

Srinivas & Fleuret, "Full-Gradient Representation for Neural Network Visualization", NeurIPS 2019.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fg_onnx._version import __version__

if TYPE_CHECKING:
    from fg_onnx.attribution import Attribution, DeviceAttribution
    from fg_onnx.binding import DeviceArray
    from fg_onnx.errors import FgOnnxError
    from fg_onnx.instrumentation import Instrumented, instrument
    from fg_onnx.manifest import Manifest, Site
    from fg_onnx.pictures.images import find_images, prepare, read_image
    from fg_onnx.pictures.preprocess import Preprocessing, load_preprocessing
    from fg_onnx.regions import region_seed
    from fg_onnx.session import Session
    from fg_onnx.verification.gate import verify
    from fg_onnx.verification.report import Verification

# Imported when first asked for: `import fg_onnx` alone loads neither onnx nor OpenCV.
_HOMES = {
    "Attribution": "attribution",
    "DeviceArray": "binding",
    "DeviceAttribution": "attribution",
    "FgOnnxError": "errors",
    "Instrumented": "instrumentation",
    "Manifest": "manifest",
    "Preprocessing": "pictures.preprocess",
    "Session": "session",
    "Site": "manifest",
    "Verification": "verification.report",
    "find_images": "pictures.images",
    "instrument": "instrumentation",
    "load_preprocessing": "pictures.preprocess",
    "prepare": "pictures.images",
    "read_image": "pictures.images",
    "region_seed": "regions",
    "verify": "verification.gate",
}

__all__ = [
    "Attribution",
    "DeviceArray",
    "DeviceAttribution",
    "FgOnnxError",
    "Instrumented",
    "Manifest",
    "Preprocessing",
    "Session",
    "Site",
    "Verification",
    "__version__",
    "find_images",
    "instrument",
    "load_preprocessing",
    "prepare",
    "read_image",
    "region_seed",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
