"""How the CPU's cores are shared among runs that go on side by side.

One run on all cores leaves them idle wherever an operator is small, and several runs of one thread
each do not: measured in docs/performance.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

MOST_RUNS = 8
"""Runs at once that are chosen at most: each has tensors of its own in memory."""


@dataclass(frozen=True)
class Shares:
    """Runs side by side, and the threads of each; None: as many as the runtime takes."""

    runs: int
    threads: int | None


def shares(threads: int | None = None) -> Shares:
    """How many runs share so many threads; None: as many as this process has cores."""
    count = available_cores() if threads is None else threads
    runs = min(count, MOST_RUNS)
    return Shares(runs, count // runs)


def available_cores() -> int:
    """Of this machine, those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
