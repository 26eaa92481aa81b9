"""What a model wants to be done to a photograph before it sees it, as data.

A `Preprocessing` only describes; `images.prepare` carries it out. It comes from a preset, from a
YAML or JSON file, or from the manifest of an instrumented model, and is checked wherever it
comes from.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fg_onnx.errors import InputError
from fg_onnx.plain_yaml import PlainYamlError, read_plain

Fit = Literal["crop", "stretch"]
Channels = Literal["rgb", "bgr", "gray"]
Layout = Literal["nchw", "nhwc"]
Interpolation = Literal["bilinear", "bicubic", "area", "opencv-bilinear"]


MOST_ALONG_A_SIDE = 2**15
"""Pixels, of what is fed to a model."""


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to the numbers that a model is fed.

    Every channel becomes ``((x * scale) - mean) / std``, where x is 0..255.

    Attributes:
        size: height and width fed to the model, in pixels. None: the model's own fixed size,
            else the photograph's.
        resize: the short side is first resized to this many pixels, then `size` is cropped from
            the centre. None: to the smallest size that covers the crop. A crop that does not fit
            into the resized photograph enlarges it until it does: nothing is ever padded.
        fit: ``"crop"`` keeps the proportions; ``"stretch"`` resizes straight to `size`.
        mean: one number, or one a channel, in the order of `channels`.
        std: likewise; never 0.
        scale: multiplies first, e.g. 1/255.
        channels: what is fed: red first, blue first, or the luma alone.
        layout: of the array that is fed. None: the model's.
        interpolation: ``"bilinear"`` and ``"bicubic"`` smooth when they shrink, as Pillow,
            torchvision and timm do; ``"area"`` averages the pixels covered, as OpenCV's INTER_AREA;
            ``"opencv-bilinear"`` samples without smoothing, as OpenCV's INTER_LINEAR and many
            C++ deployments do.

    Raises:
        InputError: ``bad-preprocessing``, where a value makes no sense.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    fit: Fit = "crop"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0
    channels: Channels = "rgb"
    layout: Layout | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                known = ", ".join("null" if c is None else c for c in choices)
                raise _bad(f"`{key}` cannot be {getattr(self, key)!r}", f"choose from: {known}")
        if self.size is not None and not (
            len(self.size) == 2 and 1 <= min(self.size) <= max(self.size) <= MOST_ALONG_A_SIDE
        ):
            raise _bad(
                f"`size` cannot be {reprlib.repr(list(self.size))}",
                f"give [height, width], both from 1 to {MOST_ALONG_A_SIDE}",
            )
        if self.resize is not None and not 1 <= self.resize <= MOST_ALONG_A_SIDE:
            raise _bad(
                f"`resize` cannot be {reprlib.repr(self.resize)}",
                f"give the short side in pixels, from 1 to {MOST_ALONG_A_SIDE}",
            )
        if self.resize is not None and self.fit == "stretch":
            raise _bad(
                "`resize` has no meaning with `fit: stretch`",
                "leave `resize` out, or use `fit: crop`",
            )
        if not math.isfinite(self.scale) or self.scale == 0:
            raise _bad(f"`scale` cannot be {self.scale}", "1.0 leaves the pixels at 0..255")
        self._check_per_channel("mean", self.mean)
        self._check_per_channel("std", self.std)
        if 0 in self.std:
            raise _bad("`std` holds 0, by which nothing can be divided", "1.0 changes nothing")

    def _check_per_channel(self, key: str, values: tuple[float, ...]) -> None:
        count = 1 if self.channels == "gray" else 3
        if len(values) not in (1, count):
            raise _bad(
                f"`{key}` holds {len(values)} numbers, but `{self.channels}` has {count}",
                "give one number for all channels, or one for each",
            )
        if not all(math.isfinite(value) for value in values):
            raise _bad(f"`{key}` holds a number that is not finite: {reprlib.repr(values)}")

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON can hold it; `from_dict` is the inverse."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that a JSON or YAML document describes; keys left out mean the default.

        One number will do for `size` (a square), `mean` and `std`.

        Raises:
            InputError: ``bad-preprocessing``: not a mapping, an unknown key, a wrong type or value.
        """
        if not isinstance(document, Mapping):
            raise _bad(f"a preprocessing is a mapping of keys, not {reprlib.repr(document)}")
        for key in document:
            if key not in _READERS:
                raise _bad(f"there is no preprocessing key `{key}`")
        return cls(**{key: _READERS[key](key, value) for key, value in document.items()})


def _bad(message: str, hint: str = "") -> InputError:
    return InputError(
        "bad-preprocessing", message, hint or f"the known keys are: {', '.join(_READERS)}"
    )


def _wrong_type(key: str, wanted: str, value: object) -> InputError:
    return _bad(f"`{key}` must be {wanted}, not {reprlib.repr(value)}")


def _read_int(key: str, value: object) -> int:
    # bool is an int in Python, but `resize: yes` is a mistake
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(key, "a whole number", value)
    return value


def _read_float(key: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        # YAML reads 1/255 and 1e-3 as text
        raise _wrong_type(key, "a decimal number such as 0.00392157", value)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _read_optional_int(key: str, value: object) -> int | None:
    return None if value is None else _read_int(key, value)


def _read_size(key: str, value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, int):
        return (_read_int(key, value),) * 2
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise _wrong_type(key, "[height, width], one number or null", value)
    return _read_int(key, value[0]), _read_int(key, value[1])


def _read_floats(key: str, value: object) -> tuple[float, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(_read_float(key, item) for item in value)
    return (_read_float(key, value),)


def _read_text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(key, "text", value)
    return value


def _read_optional_text(key: str, value: object) -> str | None:
    return None if value is None else _read_text(key, value)


# `Any`, because the fields' types differ; __post_init__ and the readers check
_READERS: dict[str, Callable[[str, object], Any]] = {
    "size": _read_size,
    "resize": _read_optional_int,
    "fit": _read_text,
    "mean": _read_floats,
    "std": _read_floats,
    "scale": _read_float,
    "channels": _read_text,
    "layout": _read_optional_text,
    "interpolation": _read_text,
}

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "fit": get_args(Fit),
    "channels": get_args(Channels),
    "layout": (*get_args(Layout), None),
    "interpolation": get_args(Interpolation),
}


PRESETS: dict[str, Preprocessing] = {
    # torchvision's and most of timm's classifiers
    "imagenet": Preprocessing(
        size=(224, 224),
        resize=256,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        scale=1 / 255,
    ),
    # Caffe and its heirs: blue first, the mean of ImageNet taken away, no scaling
    "caffe-bgr": Preprocessing(
        size=(227, 227), resize=256, mean=(103.939, 116.779, 123.68), channels="bgr"
    ),
    # TensorFlow-Slim's and Keras' "tf" mode: -1..1
    "tf": Preprocessing(size=(224, 224), mean=(1.0,), scale=1 / 127.5),
    "unit": Preprocessing(scale=1 / 255),
    "efficientnet-lite": Preprocessing(size=(224, 224), resize=256, mean=(127.0,), std=(128.0,)),
    "none": Preprocessing(),
}


def load_preprocessing(name_or_path: str) -> Preprocessing:
    """The preset of that name, else what the .yaml, .yml or .json file at that path describes.

    A file holds the keys of `Preprocessing`, and may name a `preset` that they override.

    Raises:
        InputError: ``unknown-preprocessing`` for neither a preset nor a file;
            ``bad-preprocessing`` for a file that cannot be read or does not make sense.
    """
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise InputError(
            "unknown-preprocessing",
            f"`{name_or_path}` is neither a preset nor a .yaml, .yml or .json file",
            _known_presets(),
        )
    document = _read_document(path)
    try:
        return _over_preset(document)
    except InputError as error:
        raise InputError(error.code, f"`{path}`: {error.message}", error.hint) from None


def _known_presets() -> str:
    return f"the presets are: {', '.join(PRESETS)}"


def _over_preset(document: object) -> Preprocessing:
    if not isinstance(document, Mapping) or "preset" not in document:
        return Preprocessing.from_dict(document)  # type: ignore[arg-type]  # it checks
    keys = dict(document)
    name = keys.pop("preset")
    if not isinstance(name, str) or name not in PRESETS:
        shown = reprlib.repr(name)
        raise InputError("bad-preprocessing", f"there is no preset {shown}", _known_presets())
    return Preprocessing.from_dict({**PRESETS[name].to_dict(), **keys})


def _read_document(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            "unknown-preprocessing", f"there is no preprocessing file `{path}`", _known_presets()
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"`{path}` cannot be read: {error}", "give a text file in UTF-8") from None
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise _bad(f"`{path}` is not JSON: {error}", "check it at that line") from None
        except RecursionError:
            raise _bad(f"`{path}` is nested too deeply", "write one mapping of keys") from None
    try:
        return read_plain(text).value
    except PlainYamlError as error:
        at = "" if error.line is None else f", line {error.line}"
        raise _bad(f"`{path}`{at}: {error.reason}", "check it there") from None
