"""Where the channels and the spatial grid of a tensor lie.

Convolutions and pools are NCHW by definition; Transpose moves the axes, and operators that keep
a tensor's rank keep its layout. A tensor that no such chain reaches has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_graphsurgeon as gs

from fg_onnx.primal import Primal
from fg_onnx.vjps.table import RULES

_SPATIAL_RANK = 4
_MOST_IMAGE_CHANNELS = 4


@dataclass(frozen=True)
class Layout:
    """Axes of an image-like tensor [N, C, H, W] in any order."""

    channel: int
    spatial: tuple[int, int]

    @property
    def name(self) -> Literal["nchw", "nhwc"]:
        """``nchw`` or ``nhwc``; both are the same for anything else."""
        return "nchw" if self.channel == 1 else "nhwc"


NCHW = Layout(1, (2, 3))
NHWC = Layout(3, (1, 2))


class Layouts:
    """The layouts of all active tensors of a graph, found by walking it both ways."""

    def __init__(self, primals: Sequence[Primal], x: gs.Tensor) -> None:
        self._known: dict[str, Layout] = {}
        for p in primals:
            if RULES[p.op_type].axes == "channels-first":
                for tensor in (p.x, *p.outputs):
                    self._learn(tensor, NCHW)
        for walk in (primals, list(reversed(primals)), primals):
            for p in walk:
                self._spread(p)
        if x.name not in self._known:
            guess = _guess(x)
            if guess is not None:
                self._learn(x, guess)
            for p in primals:
                self._spread(p)

    def of(self, tensor: gs.Tensor) -> Layout | None:
        """The layout, None where the tensor has no spatial grid."""
        return self._known.get(tensor.name)

    def _learn(self, tensor: gs.Tensor | None, layout: Layout) -> None:
        if tensor is not None and _rank(tensor) == _SPATIAL_RANK:
            self._known.setdefault(tensor.name, layout)

    def _spread(self, p: Primal) -> None:
        axes = RULES[p.op_type].axes
        if axes == "permuted":
            self._spread_permuted(p)
        elif axes != "new":
            self._spread_kept(p)

    def _spread_kept(self, p: Primal) -> None:
        operands = zip(p.inputs, p.active, strict=True)
        tensors: list[gs.Tensor] = [tensor for tensor, active in operands if active]
        tensors += [tensor for tensor in p.outputs if tensor is not None]
        layout = next((self._known[t.name] for t in tensors if t.name in self._known), None)
        if layout is not None:
            for tensor in tensors:
                self._learn(tensor, layout)

    def _spread_permuted(self, p: Primal) -> None:
        perm = p.attrs.get("perm")
        if perm is None or len(perm) != _SPATIAL_RANK:
            return
        if p.x.name in self._known:
            before = self._known[p.x.name]
            moved = {old: new for new, old in enumerate(perm)}
            self._learn(p.y, _layout(*(moved[axis] for axis in (before.channel, *before.spatial))))
        elif p.y.name in self._known:
            after = self._known[p.y.name]
            self._learn(p.x, _layout(*(perm[axis] for axis in (after.channel, *after.spatial))))


def _layout(channel: int, height: int, width: int) -> Layout:
    return Layout(channel, (height, width))


def _rank(tensor: gs.Tensor) -> int | None:
    return None if tensor.shape is None else len(tensor.shape)


def _guess(x: gs.Tensor) -> Layout | None:
    """An image's layout from its shape alone: the axis with as few entries as channels."""
    if _rank(x) != _SPATIAL_RANK:
        return None
    few = [isinstance(dim, int) and dim <= _MOST_IMAGE_CHANNELS for dim in x.shape]
    return NHWC if few[3] and not few[1] else NCHW
