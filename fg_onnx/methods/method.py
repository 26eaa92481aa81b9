"""What a method is: a record of its options that knows what it needs and how its maps are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.manifest import Emit
from fg_onnx.methods.task import Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Found:
    """What a method makes of N images.

    Attributes:
        maps: [N, *grid], larger where more salient.
        targets: int64 [N], what was explained.
        scores: [N], f of the images themselves.
        signed: whether what speaks against the target is negative.
        residual: float64 [N], by the method's own completeness; None where it has none.
        delta: float64 [N], what the attributions sum to beyond what they should; likewise.
        notes: what a reader of the numbers has to know.
        image_notes: the same of single images, by their rows.
    """

    maps: Array
    targets: Array
    scores: Array
    signed: bool = False
    residual: Array | None = None
    delta: Array | None = None
    notes: tuple[str, ...] = ()
    image_notes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method with its options, which are the fields of its class.

    Attributes:
        name: as it is asked for.
        summary: its definition in one line.
        citation: where it was defined.
        emit: what the instrumented model has to compute.
        samples_inputs: whether the model is also fed other images than those given, so that it has
            to take any floats.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str]
    emit: ClassVar[tuple[Emit, ...]] = ()
    samples_inputs: ClassVar[bool] = False

    @property
    def instrumenting(self) -> dict[str, Any]:
        """What `fg_onnx.instrument` is to be told beside ``emit``."""
        return {}

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InputError: one of them makes no sense.
        """

    def maps(self, task: Task) -> Found:
        """The maps of a task's images."""
        raise NotImplementedError

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """The names of the options."""
        return tuple(each.name for each in dataclasses.fields(cls))

    @classmethod
    def kinds(cls) -> dict[str, tuple[type, ...]]:
        """The types of each option's values by its name."""
        hints = get_type_hints(cls)
        return {name: get_args(hints[name]) or (hints[name],) for name in cls.options()}

    def require(self, option: str, holds: bool, wanted: str) -> None:
        """Fail where an option's value makes no sense.

        Raises:
            InputError: ``bad-option``.
        """
        if not holds:
            raise InputError(
                "bad-option",
                f"`{option}` of {self.name} cannot be {getattr(self, option)!r}",
                f"give {wanted}",
            )


@dataclass(frozen=True, kw_only=True)
class Magnitudes(Method):
    """A method of values by channel, whose maps are of their magnitudes.

    Attributes:
        channels: the ``sum`` of the channels' magnitudes, or the ``max``.
    """

    channels: str = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("channels", self.channels in ("sum", "max"), "sum or max")

    def reduced(self, task: Task, values: Array) -> Array:
        """Values in the shape of the images as maps [N, *grid]."""
        magnitude = np.abs(values)
        reduce = magnitude.sum if self.channels == "sum" else magnitude.max
        return np.asarray(reduce(axis=task.channel))


@dataclass(frozen=True, kw_only=True)
class OverChannels(Magnitudes):
    """A method of values by channel, whose maps may keep the sign.

    Attributes:
        signed: keep the sign: the sum over channels, so that what speaks against the target is
            negative; ``channels`` has no use then.
    """

    signed: bool = False

    def reduced(self, task: Task, values: Array) -> Array:
        """Values in the shape of the images as maps [N, *grid]."""
        if self.signed:
            return np.asarray(values.sum(axis=task.channel))
        return super().reduced(task, values)


@dataclass(frozen=True, kw_only=True)
class Attributing(Method):
    """A method whose values add up, so that a pixel's is the sum over its channels.

    Attributes:
        signed: keep the sign; else the maps are that sum's magnitude.
    """

    signed: bool = False

    def reduced(self, task: Task, values: Array) -> Array:
        """Values in the shape of the images as maps [N, *grid]."""
        total = np.asarray(values.sum(axis=task.channel))
        return total if self.signed else np.abs(total)


@dataclass(frozen=True, kw_only=True)
class Drawing(Method):
    """A method that draws at random.

    Attributes:
        seed: of the draws. They depend on it and on the image alone, so that an image has the same
            map in whatever batch.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("seed", self.seed >= 0, "a whole number from 0 on")
