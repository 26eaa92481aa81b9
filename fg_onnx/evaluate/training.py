"""What trains a classifier: a function that anyone can write, and how one is found by its name."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import FgOnnxError, InputError

Array = npt.NDArray[Any]

Classify: TypeAlias = Callable[[Array], Array]
"""Images [N, ...]: the class of each, integers [N]."""

Advance: TypeAlias = Callable[[float], None]
"""Told now and then how much of a training is done, from 0 to 1."""


class Trainer(Protocol):
    """Trains a classifier from scratch; the same images, labels and seed train the same one.

    It is a function, or a dataclass whose fields are its settings: what it is decides which
    trainings are taken for done, and of any other object that cannot be told. Its file counts; what
    that one imports does not.
    """

    def __call__(self, images: Array, labels: Array, seed: int, progress: Advance, /) -> Classify:
        """Train.

        Args:
            images: [N, ...], as the model is fed them, some of their pixels replaced.
            labels: integers [N] from 0.
            seed: of all that is drawn by chance.
            progress: may be called.
        """


class TrainingError(FgOnnxError):
    """A trainer failed, or what it trained gives no classes."""


def load_trainer(name: str) -> Trainer:
    """The trainer ``module:name``, as Python would import it.

    Raises:
        InputError: ``bad-trainer``.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise _bad(f"`{name}` names no trainer", "give MODULE:FUNCTION, such as my_training:train")
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # the module is anyone's, and runs when it is imported
        raise _bad(
            f"the module `{module_name}` cannot be imported: {type(error).__name__}: {error}",
            "is it in the current folder, or installed?",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise _bad(f"`{module_name}` has no `{path}`", "check the name behind the colon")
        found = getattr(found, part)
    identity(found)
    trainer: Trainer = found  # it can be called; the rest shows
    return trainer


def identity(trainer: Any) -> dict[str, Any]:
    """What a trainer is, as JSON holds it: name, settings, its file's digest, library versions.

    Raises:
        InputError: ``bad-trainer``: neither a function nor a dataclass, or a function that depends
            on variables around it.
    """
    hint = "give a function, or an instance of a dataclass whose fields are its settings"
    if not callable(trainer):
        raise _bad(f"{trainer!r} cannot be called", hint)
    function = inspect.isfunction(trainer)
    if function and trainer.__closure__:
        held = ", ".join(trainer.__code__.co_freevars)
        raise _bad(f"`{trainer.__qualname__}` depends on what stands around it: {held}", hint)
    if not function and (isinstance(trainer, type) or not dataclasses.is_dataclass(trainer)):
        raise _bad(f"{trainer!r} is neither a function nor a dataclass", hint)
    kind = trainer if function else type(trainer)
    found: dict[str, Any] = {"name": f"{kind.__module__}:{kind.__qualname__}"}
    if not function:
        found["settings"] = dataclasses.asdict(trainer)
    found["source_sha256"] = hashlib.sha256(_source(kind)).hexdigest()
    found["versions"] = {name: _version(name) for name in ("numpy", "torch")}
    plain: dict[str, Any] = json.loads(json.dumps(found, default=repr))
    return plain


def accuracy(
    trainer: Trainer,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    seed: int,
    progress: Advance,
) -> float:
    """The share of test images that are classified as labelled, after training from scratch.

    Raises:
        TrainingError: the trainer failed, or what it trained does not give a class for every image.
    """
    images, labels = test
    try:
        found = np.asarray(trainer(*train, seed, progress)(images))
    except FgOnnxError:
        raise
    except (Exception, SystemExit) as error:  # it is anyone's
        raise TrainingError(
            "training-failed",
            f"the trainer failed: {type(error).__name__}: {error}",
            "FG_ONNX_DEBUG=1 shows where",
        ) from error
    if found.shape != labels.shape or found.dtype.kind not in "iu":
        raise TrainingError(
            "no-classes",
            f"what was trained gives {found.dtype} {list(found.shape)} for {len(labels)} images",
            "a classifier gives a whole number for every image",
        )
    return float((found == labels).mean())


def _source(kind: Any) -> bytes:
    """The file that defines it; nothing where there is none."""
    try:
        return Path(inspect.getsourcefile(kind) or "").read_bytes()
    except (OSError, TypeError):
        return b""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _bad(message: str, hint: str) -> InputError:
    return InputError("bad-trainer", message, hint)
