"""How many images are run at once, on how many threads: measured in docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass

from fg_onnx import cores
from fg_onnx.errors import InputError
from fg_onnx.session import Session

METHOD_BATCH = 8
"""Images that other methods than full-gradients are given at once."""

_BATCH_OF_GPU = 8


@dataclass(frozen=True)
class Pace:
    """How a model goes through many images.

    Attributes:
        batch: images that are run at once; None: as many as suit the device.
        threads: within an operator on the CPU; None: the runtime's choice, all cores.
        runs: batches that are run side by side.
    """

    batch: int | None = None
    threads: int | None = None
    runs: int = 1

    def on(self, session: Session) -> Settled:
        """The same where it is known what the model runs on.

        On the CPU one image is run at a time: its tensors stay in the caches, where those of
        several evict each other. A GPU wants several, and is kept busy by one run.
        """
        on_cpu = session.device == "cpu"
        fixed = session.input_shape[0]
        chosen = fixed if isinstance(fixed, int) else 1 if on_cpu else _BATCH_OF_GPU
        return Settled(self.batch or chosen, self.runs if on_cpu else 1)


@dataclass(frozen=True)
class Settled:
    """How many images are run at once, and how many such batches side by side."""

    batch: int
    runs: int


def choose_pace(
    batch: int | None = None, threads: int | None = None, images: int | None = None
) -> Pace:
    """What is not given is chosen.

    On the CPU there are as many runs as cores, unless there are too few images for that. With one
    thread, what a run gives does not depend on the number of cores.

    Args:
        batch: images that are run at once, or None.
        threads: within an operator, or None.
        images: how many there are; None: many.

    Raises:
        InputError: ``bad-pace``: a number below 1.
    """
    for name, value in (("batch", batch), ("threads", threads)):
        if value is not None and value < 1:
            raise InputError("bad-pace", f"{name} is {value}", "give 1 or more, or leave it out")
    if threads is not None:
        left = cores.available_cores() // threads
        return Pace(batch, threads, max(1, min(left, cores.MOST_RUNS)))
    shares = cores.shares()
    if images is not None and images < 2 * shares.runs:
        return Pace(batch)
    return Pace(batch, shares.threads, shares.runs)
