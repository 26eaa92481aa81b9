"""Runs of a loaded model: all images of a call at once, or in parts side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import binding, manifest
from fg_onnx.binding import DeviceArray
from fg_onnx.cores import Shares, shares
from fg_onnx.devices import Device
from fg_onnx.errors import FgOnnxError, InputError, first_line
from fg_onnx.feeds import Fed, Inputs
from fg_onnx.loading import Loader, feeds_biases
from fg_onnx.manifest import Manifest
from fg_onnx.parts import images_of_a_run, parts, pixels_of
from fg_onnx.streaming import threads as pool_of

Array = npt.NDArray[Any]

_CPU = "cpu"
_BATCH_FIRST = frozenset(
    {
        *(manifest.SCORE, manifest.EXPLAINED, manifest.CONTRIBUTIONS, manifest.SALIENCY),
        manifest.INPUT_GRADIENT,
        *manifest.METHOD_EMITS.values(),
    }
)


class Runs:
    """What is run of one model.

    Args:
        loader: of its sessions.
        inputs: of the model.
        held: its manifest.
        device: that it runs on.
        threads: that a call may keep busy on the CPU; None: as many as there are cores.
    """

    def __init__(
        self, loader: Loader, inputs: Inputs, held: Manifest, device: Device, threads: int | None
    ) -> None:
        self._loader = loader
        self._inputs = inputs
        self._manifest = held
        self._device = device
        self._threads = threads
        outputs = loader.session(threads=threads).get_outputs()
        self._apart = _batch_first(outputs, inputs, held)
        self._counting = threading.Lock()  # runs may go on side by side
        self.seconds = 0.0  # in ONNX Runtime, all runs together

    def inputs_for(self, names: Collection[str]) -> Inputs:
        """What knows the inputs of these names, if the model has them."""
        return self._all_inputs if self._feeds_biases(names) else self._inputs

    def require_at_once(self, count: int) -> None:
        """Fail where so many images do not go into one run.

        Raises:
            InputError: the model takes another number at a time.
        """
        if self._is_fixed(count):
            raise InputError(
                "fixed-batch",
                f"the model takes one image at a time, not {count}, and what each gives is "
                "not joined on a device",
                "instrument it with --dynamic-batch, or give the images one by one",
            )

    def in_parts(
        self, images: Fed, feeds: Mapping[str, Fed], outputs: list[str], *, forward: bool = False
    ) -> list[Array]:
        """The outputs for all images, of as many runs as suit the model and the device.

        Raises:
            InputError: the model does not run on what it is fed, or takes another batch.
        """
        shared = self._shared()
        parted = self._parts(images, outputs, shared.runs)
        if len(parted) == 1:
            return self.at_once(images, feeds, outputs, forward=forward)
        # Too few to keep all busy go one after the other, each as fast as it can.
        apart = shared if len(parted) >= shared.runs else Shares(1, None)

        def run(rows: slice) -> list[Array]:
            fed = {
                k: _cut(v, rows) if self._inputs.is_per_image(k) else v for k, v in feeds.items()
            }
            wanted = _cut(images, rows)
            return self.at_once(wanted, fed, outputs, forward=forward, threads=apart.threads)

        with pool_of(apart.runs) as pool:
            found = list(pool.map(run, parted))
        return [_joined(column, parted) for column in zip(*found, strict=True)]

    def at_once(
        self,
        images: Fed,
        feeds: Mapping[str, Fed],
        outputs: list[str],
        left: Collection[str] = (),
        into: Mapping[str, DeviceArray] | None = None,
        *,
        forward: bool = False,
        threads: int | None = None,
    ) -> list[Any]:
        """The outputs of one run, those of ``left`` where the device has them.

        Raises:
            InputError: the model does not run on what it is fed.
        """
        fed = {self._inputs.image: images, **self._inputs.as_declared(feeds)}
        session = self._loader.session(
            ranking=self._manifest.ranking if forward else None,
            fed=self._feeds_biases(fed),
            threads=self._threads if threads is None else threads,
        )
        if forward:
            taken = [*session.get_inputs(), *session.get_overridable_initializers()]
            fed = {value.name: fed[value.name] for value in taken if value.name in fed}
        began = time.perf_counter()
        try:
            if left or any(isinstance(value, DeviceArray) for value in fed.values()):
                memory = self._device.memory
                return binding.run(session, fed, outputs, left=left, memory=memory, into=into)
            found: list[Array] = session.run(outputs, fed)
        except FgOnnxError:
            raise
        except Exception as error:  # a class of its own for every status code of the runtime
            raise InputError(
                "run-fails",
                f"the model does not run on this input: {first_line(error)}",
                "does it have further inputs to be fed?",
            ) from error
        finally:
            with self._counting:
                self.seconds += time.perf_counter() - began
        return found

    def _feeds_biases(self, names: Collection[str]) -> bool:
        """Whether promoted biases are among what is fed, which are constants otherwise."""
        return not self._manifest.frozen_biases and feeds_biases(names)

    @cached_property
    def _all_inputs(self) -> Inputs:
        session = self._loader.session(fed=True, threads=self._threads)
        return Inputs(session, self._manifest, self._device.memory)

    def _shared(self) -> Shares:
        """How many runs go on side by side, and the threads of each; None: those of a call."""
        return shares(self._threads) if self._device.kind == _CPU else Shares(1, None)

    def _parts(self, images: Fed, outputs: Collection[str], runs: int) -> list[slice]:
        """The images of each run."""
        count = len(images)
        if self._is_fixed(count):
            return [slice(i, i + 1) for i in range(count)]
        whole = count == 1 or isinstance(self._inputs.shape[0], int)
        if whole or self._device.kind != _CPU or not self._apart.issuperset(outputs):
            return [slice(0, count)]
        pixels = pixels_of(images.shape, self._manifest.layout)
        return parts(count, images_of_a_run(pixels, self._loader.size), runs)

    def _is_fixed(self, count: int) -> bool:
        """Whether the model's batch is fixed to 1, and there are several images.

        Raises:
            InputError: it is fixed to another number than theirs.
        """
        fixed = self._inputs.shape[0]
        if not isinstance(fixed, int) or fixed == count:
            return False
        if fixed != 1:
            raise InputError(
                "fixed-batch",
                f"the model takes batches of {fixed}, not {count}",
                "instrument it with --dynamic-batch, or export it with a dynamic batch",
            )
        return True


def _batch_first(outputs: Sequence[Any], inputs: Inputs, held: Manifest) -> frozenset[str]:
    """The outputs that are known to have a row for each image.

    What exporters call the first dimension of an output is not always what they call the batch.
    """
    known = {*_BATCH_FIRST, held.ranking}
    return frozenset(
        value.name
        for value in outputs
        if value.name in known
        or (value.type.startswith("tensor(") and value.shape[:1] == [inputs.shape[0]])
    )


def _cut(value: Fed, rows: slice) -> Fed:
    """Of several images, some; one, where they lie on a GPU, which only a batch of 1 parts."""
    return value.row(rows.start) if isinstance(value, DeviceArray) else value[rows]


def _joined(column: Sequence[Array], parted: Sequence[slice]) -> Array:
    """What parts gave; of single images the batch may be no dimension at all."""
    batched = all(
        part.ndim > 0 and len(part) == rows.stop - rows.start
        for part, rows in zip(column, parted, strict=True)
    )
    return np.concatenate(column) if batched else np.stack(column)
