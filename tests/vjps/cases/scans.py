"""Running sums and products."""

from __future__ import annotations

import numpy as np

from ..harness import Fed, Live
from .making import curved, exact, live

_axis = np.array(1)
_free = Live((2, 3, 4), dims=("N", "C", 4))
_flags = [{"exclusive": e, "reverse": r} for e in (0, 1) for r in (0, 1)]

SCANS = [
    *(
        exact("CumSum", live(2, 4), _axis, note=f"exclusive{f['exclusive']}-{f['reverse']}", **f)
        for f in _flags
    ),
    exact("CumSum", _free, np.array(-2), note="negative-axis"),
    exact("CumSum", live(2, 3), Fed(np.array(0)), note="run-time-axis"),
    *(
        curved("CumProd", live(2, 4), _axis, note=f"exclusive{f['exclusive']}-{f['reverse']}",
               opset=26, runtime=False, **f)
        for f in _flags
    ),
    curved("CumProd", Live((2, 3, 4), dims=("N", 3, 4)), np.array(-2), note="N", opset=26,
           runtime=False),
]  # fmt: skip
