"""Processes that take turns on the machine, one method in each.

While one runs, all others are stopped (SIGSTOP): no thread of theirs can spin, whatever its library
does with it, and what one leaves in its allocator is not another's. As they alternate, what changes
on the machine meets all of them alike.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from benchmarks.methods import METHODS
from benchmarks.results import Cell

WARM_UP = 2
_FEWEST = 3


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        blocks: of each method, in turn.
        runs: in each block.
        seconds: for one method at one batch. Where that is too little, there are fewer runs and
            then fewer blocks, but never fewer than three runs, where as many are asked for.
    """

    blocks: int
    runs: int
    seconds: float

    def pace(self, ms: float) -> tuple[int, int]:
        """For runs of so many milliseconds: how many blocks, and how many runs in each."""
        most = self.blocks * self.runs
        total = min(most, max(int(self.seconds * 1e3 / ms), _FEWEST))
        blocks = min(self.blocks, total)
        return blocks, total // blocks


def takes_part(turn: int, turns: int, blocks: int) -> bool:
    """Whether one of so many blocks, spread evenly over all turns, falls on this one."""
    return (turn + 1) * blocks // turns > turn * blocks // turns


@dataclass(frozen=True)
class Worker:
    """`benchmarks.worker`, which runs only while it is asked."""

    method: str
    process: subprocess.Popen[str]
    complaints: IO[str]

    def ask(self, batch: int, runs: int, warm_up: int = 0) -> dict[str, Any]:
        """Its answer, which has an `error` where there is no other."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        question = {"batch": batch, "runs": runs, "warm_up": warm_up}
        try:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": self._end()}
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        found: dict[str, Any] = json.loads(line)
        return found

    def _end(self) -> str:
        """Why it is no more."""
        code = self.process.wait()
        self.complaints.seek(0)
        said = self.complaints.read().strip().splitlines()
        return f"the process ended with {code}{f': {said[-1][:200]}' if said else ''}"


@contextmanager
def worker(method: str, net: str, folder: str, threads: int) -> Iterator[Worker]:
    """Begin the process, and end it."""
    command = [sys.executable, "-m", "benchmarks.worker", method, net, folder, str(threads)]
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # read on import
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, **dict.fromkeys(pools, str(threads))},
        )
        try:
            yield Worker(method, process, complaints)
        finally:
            process.kill()  # one that is stopped, too
            process.communicate()


@dataclass
class _Measured:
    """What is known of one method so far."""

    worker: Worker
    share: float
    blocks: int = 0
    runs: int = 0
    warm_up: int = 0
    found: list[tuple[float, ...]] = field(default_factory=list)
    peak_mib: float | None = None
    seconds: float = 0.0
    elsewhere: float = 0.0
    error: str = ""

    def ask(self, batch: int, runs: int, warm_up: int) -> list[float]:
        answer = self.worker.ask(batch, runs, warm_up)
        self.error = answer.get("error", "")
        self.peak_mib = answer.get("peak_mib", self.peak_mib)
        self.seconds += answer.get("seconds", 0.0)
        self.elsewhere += answer.get("elsewhere", 0.0)
        return answer.get("ms", [])

    def prepare(self, batch: int, effort: Effort) -> None:
        """Load, warm up, and see how long a run takes."""
        for ms in self.ask(batch, 1, 1):
            self.blocks, self.runs = effort.pace(ms)
            # runs of a second and more leave nothing of their own in the caches to come back to
            self.warm_up = WARM_UP if ms < 1e3 else 0

    def cell(self) -> Cell:
        if self.error:
            return Cell(error=self.error)
        return Cell(tuple(self.found), self.share, self.peak_mib, self.elsewhere / self.seconds)


def alternate(
    net: str,
    folder: str,
    methods: Sequence[str],
    batches: Sequence[int],
    effort: Effort,
    threads: int,
) -> Mapping[int, dict[str, Cell]]:
    """Measure methods side by side; cells by batch."""
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(m, net, folder, threads)) for m in methods]
        return {batch: _in_turns(workers, batch, effort) for batch in batches}


def _in_turns(workers: Sequence[Worker], batch: int, effort: Effort) -> dict[str, Cell]:
    measured = [_Measured(worker, METHODS[worker.method].share(batch)) for worker in workers]
    for each in measured:
        each.prepare(batch, effort)
    for turn in range(effort.blocks):
        for each in measured:
            if each.error:
                continue
            asked = takes_part(turn, effort.blocks, each.blocks)
            each.found.append(tuple(each.ask(batch, each.runs, each.warm_up)) if asked else ())
    return {each.worker.method: each.cell() for each in measured}
