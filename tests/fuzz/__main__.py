"""Judge mutants in worker processes; print the counts of outcomes, and every finding."""

from __future__ import annotations

import argparse
import collections
import json
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.mutants import mutant

SECONDS = 60.0  # for a stage of one mutant: a hundred times what the slowest needs
MEMORY = 2 << 30  # bytes, beyond what an idle worker has
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Verdict:
    """On one mutant.

    Attributes:
        number: of the mutant.
        outcome: as in `tests.fuzz.verdict`, or ``runtime``: ONNX Runtime hung or crashed on the
            source.
        why: the code of the error, or what was found.
        what: was mutated, and how.
        seconds: it took.
    """

    number: int
    outcome: str
    why: str
    what: str
    seconds: float = 0.0


class Worker:
    """A process that judges mutants, and is started again when one was too much for it."""

    def __init__(self, seed: int, memory: int = MEMORY) -> None:
        self._seed = seed
        self._memory = memory
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def judge(self, number: int) -> Verdict:
        """The verdict on a mutant."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        stage = "start"
        try:
            while (answer := self._answers.get(timeout=SECONDS)) is not None:
                if "stage" not in answer:
                    return Verdict(number, **answer)
                stage = answer["stage"]
            failure = f"crash {process.wait()}"
        except queue.Empty:
            failure = "hang"
        self.stop()
        if stage == "start":
            raise RuntimeError("no worker starts; see: python -m tests.fuzz.worker 0 2000000000")
        # The runtime's own trouble with the source is not fg-onnx's.
        outcome = "runtime" if stage == "source" else "finding"
        return Verdict(number, outcome, f"{failure} in {stage}", mutant(self._seed, number)[1])

    def _start(self) -> subprocess.Popen[str]:
        self._answers = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", str(self._seed), str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=_ROOT,
        )
        threading.Thread(target=_pump, args=(self._process, self._answers), daemon=True).start()
        return self._process

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _pump(
    process: subprocess.Popen[str], answers: queue.SimpleQueue[dict[str, Any] | None]
) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(json.loads(line))
    answers.put(None)


def run(seed: int, count: int, first: int = 0) -> list[Verdict]:
    """The verdicts on ``count`` mutants of a seed."""
    worker = Worker(seed)
    try:
        return [worker.judge(number) for number in range(first, first + count)]
    finally:
        worker.stop()


def main() -> None:
    """Judge, count, and exit with 1 where there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    parser.add_argument("--keep", type=Path, help="a folder for the mutants that are findings")
    chosen = parser.parse_args()
    verdicts = run(chosen.seed, chosen.count, chosen.first)
    counts = collections.Counter(
        f"refused: {v.why}" if v.outcome == "refused" else v.outcome for v in verdicts
    )
    for outcome, count in counts.most_common():
        print(f"{count:6d}  {outcome}")
    print(f"{max(v.seconds for v in verdicts):6.2f}  seconds for the slowest")
    for v in verdicts:
        if v.outcome in ("finding", "runtime"):
            print(f"{v.outcome}: --seed {chosen.seed} --first {v.number}: {v.why} [{v.what}]")
        if v.outcome == "finding" and chosen.keep:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            kept = chosen.keep / f"{chosen.seed}-{v.number}.onnx"
            kept.write_bytes(mutant(chosen.seed, v.number)[0])
    sys.exit(any(v.outcome == "finding" for v in verdicts))


if __name__ == "__main__":
    main()
