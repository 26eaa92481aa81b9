"""The layouts of all tensors of a graph.

Convolutions and pools are [N, C, *grid] by definition. From there, and from the explained input,
layouts spread from step to step. A tensor that no such chain reaches has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import onnx_graphsurgeon as gs

from fg_onnx.graph.primal import Primal
from fg_onnx.grid.layout import MOST_SPATIAL, Layout, channels_first, count_of
from fg_onnx.grid.relayout import Way, is_lost, moved
from fg_onnx.vjps.table import RULES

_MOST_IMAGE_CHANNELS = 4


class Layouts:
    """The layouts of all active tensors of a graph, found by walking it both ways.

    First the steps nearest to the input tell its layout, or its shape does. What is then known
    from the input onwards holds; only where nothing is known, a convolution tells.
    """

    def __init__(self, primals: Sequence[Primal], x: gs.Tensor) -> None:
        self._known: dict[str, Layout | None] = {}
        self._folds: dict[str, Fraction] = {}
        self._batch = x.shape[0] if x.shape else None
        self._follow_batch(primals)
        told = self._told(primals, x)
        self._rank = len(told.spatial) if told else 0
        self._known = {x.name: told} if told else {}
        for p in primals:
            self._claim(p)
            self._spread(p, "down")
        for p in reversed(primals):
            self._spread(p, "up")
        for p in primals:
            self._spread(p, "down")

    def of(self, tensor: gs.Tensor) -> Layout | None:
        """The layout, None where the tensor has no grid that lies on the explained input's.

        A grid of more axes than the input's does where those too many are of size 1.
        """
        layout = self._known.get(tensor.name)
        if layout is None:
            return None
        grid = layout.grid(tensor.shape)
        kept = list(range(len(grid)))
        for index, size in enumerate(grid):
            if len(kept) > self._rank and size == 1:
                kept.remove(index)
        if len(kept) != self._rank:
            return None
        if layout.tokens is None:
            return replace(layout, spatial=tuple(layout.spatial[index] for index in kept))
        sizes = tuple(layout.tokens.grid[index] for index in kept)
        return replace(layout, tokens=replace(layout.tokens, grid=sizes))

    def _told(self, primals: Sequence[Primal], x: gs.Tensor) -> Layout | None:
        for p in reversed(primals):
            self._claim(p)
            self._spread(p, "up")
        found = self._known.get(x.name)
        if found is None or len(x.shape) != 2 + len(found.spatial):
            return _guess(x)
        if found.tokens or found.unfolded or len(found.spatial) > MOST_SPATIAL:
            return _guess(x)
        return found

    def _claim(self, p: Primal) -> None:
        """What a step that demands [N, C, *grid] says, where nothing else is known."""
        if RULES[p.op_type].axes != "channels-first" or p.x.name in self._known:
            return
        rank = _rank(p.x)
        if rank is not None and rank > 2 and self._batch_first(p.x):
            for tensor in (p.x, *p.outputs):
                if tensor is not None and _rank(tensor) == rank:
                    self._known.setdefault(tensor.name, channels_first(rank - 2))

    def _spread(self, p: Primal, way: Way) -> None:
        given: list[gs.Tensor] = [u for u, on in zip(p.inputs, p.active, strict=True) if on]
        made: list[gs.Tensor] = [y for y in p.outputs if y is not None]
        sources, targets = (given, made) if way == "down" else (made, given)
        known = [s for s in sources if s.name in self._known]
        found = [(s, layout) for s in known if (layout := self._known[s.name]) is not None]
        for target in targets if known else ():
            if target.name in self._known or _rank(target) is None:
                continue
            with p.consistent():
                layout = moved(p, found, target, way) if found else None
            if layout is not None:
                self._known[target.name] = layout
            elif way == "down" and is_lost(p, [layout for _, layout in found]):
                self._known[target.name] = None  # its axes are known not to be the image's

    # --- the batch --------------------------------------------------------------------------

    def _follow_batch(self, primals: Sequence[Primal]) -> None:
        """How many entries of the first axis belong to an image, where that can be told."""
        for p in primals:
            folds = [self._folds.get(u.name) for u in p.inputs if u is not None]
            fold = next((found for found in folds if found is not None), Fraction(1))
            if RULES[p.op_type].axes == "reshaped":
                old, new = (count_of((t.shape or [None])[1:]) for t in (p.x, p.y))
                if old is not None and new:
                    fold *= Fraction(old, new)
            if fold != 1:
                self._folds.update({y.name: fold for y in p.outputs if y is not None})

    def _batch_first(self, tensor: gs.Tensor) -> bool:
        first = tensor.shape[0]
        alone = not isinstance(first, int) or first in (1, self._batch)
        return alone and tensor.name not in self._folds


def _rank(tensor: gs.Tensor) -> int | None:
    return None if tensor.shape is None else len(tensor.shape)


def _guess(x: gs.Tensor) -> Layout | None:
    """An image's layout from its shape alone: the axis with as few entries as channels."""
    spatial = (_rank(x) or 0) - 2
    if not 1 <= spatial <= MOST_SPATIAL:
        return None
    few = [isinstance(dim, int) and dim <= _MOST_IMAGE_CHANNELS for dim in x.shape]
    if few[-1] and not few[1]:
        return Layout(1 + spatial, tuple(range(1, 1 + spatial)))
    return channels_first(spatial)
