"""What an emitted node is for, told by its name: ``fg/<stage>/<site>/<operator>_<number>``.

Nothing computes by it; `fg_onnx.profiling` reads it, and whoever reads a runtime's messages.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Stage: TypeAlias = Literal["forward", "seed", "adjoint", "contributions", "psi", "map", "methods"]
"""What the model itself computes in another form, the start of the adjoint, the adjoint itself, the
bias-gradients and their totals, the sum of a layer over its channels, the sum of layers into maps,
and what other methods ask for."""

STAGES: tuple[Stage, ...] = get_args(Stage)
EMITTED = "fg/"
"""How the names of emitted nodes and tensors begin."""


def stem(stage: Stage, site: str, op_type: str) -> str:
    """Of a node's name: without `EMITTED` and the number."""
    return "/".join(filter(None, (stage, site, op_type)))


def parse(name: str) -> tuple[Stage | None, str] | None:
    """The stage and the site in the name of a node; None where it is not an emitted one's.

    The stage is None where the name does not say it, the site ``""`` where there is none.
    """
    if not name.startswith(EMITTED):
        return None
    first, _, rest = name.removeprefix(EMITTED).partition("/")
    for stage in STAGES:
        if stage == first:
            return stage, rest.rpartition("/")[0]
    return None, ""


def place(name: str) -> str:
    """A node's name as sites are named after it."""
    return name.strip("/")
