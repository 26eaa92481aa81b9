"""How many images go into one run on the CPU, where a call brings more.

The tensors of one photograph stay in the caches, where those of several evict each other; of small
images several belong together, lest threads and operators wait for each other more than they work
(docs/performance.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fg_onnx.manifest import LayoutName

PIXELS = 224 * 224
"""Of the images of one run, together, unless one has more."""


def pixels(shape: Sequence[int], layout: LayoutName | None) -> int:
    """Of one image in a batch of that shape; where it has no grid, the numbers it consists of."""
    channel = layout.index("c") if layout else 0
    return math.prod(size for axis, size in enumerate(shape) if axis not in (0, channel))


def size_of_part(count: int, pixels: int, runs: int) -> int:
    """How many of ``count`` images go into one run, where ``runs`` go on side by side.

    All of them, where there are fewer than keep all runs busy.
    """
    most = max(1, PIXELS // max(1, pixels))
    if count < most * runs:
        return count
    rounds = math.ceil(count / (most * runs))
    return math.ceil(count / (rounds * runs))
