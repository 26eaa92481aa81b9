"""``python -m tests.fuzz --seed S --count N``: judge N mutants, print the counts and findings."""

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

SECONDS = 30.0  # for one mutant: a hundred times what the slowest needs
MEMORY = 2 << 30
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Verdict:
    """On one mutant."""

    number: int
    outcome: str
    why: str
    what: str
    seconds: float = 0.0


class Worker:
    """A process that judges mutants, and is started again when one was too much for it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def judge(self, number: int) -> Verdict:
        """The verdict on a mutant."""
        process = self._started()
        assert process.stdin is not None
        stage = "start"
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            while True:
                line = self._answers.get(timeout=SECONDS)
                if not line:
                    raise BrokenPipeError
                answer: dict[str, Any] = json.loads(line)
                if "outcome" in answer:
                    return Verdict(
                        number, answer["outcome"], answer["why"], answer["what"], answer["seconds"]
                    )
                stage = answer["stage"]
        except (queue.Empty, BrokenPipeError) as error:
            hung = isinstance(error, queue.Empty)
            why = "hang" if hung else f"crash {process.wait()}"
            self.stop()
            # The runtime's own trouble with the source is not fg-onnx's.
            outcome = "runtime" if stage == "source" else "finding"
            return Verdict(number, outcome, f"{why} in {stage}", mutant(self._seed, number)[1])

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._answers = queue.SimpleQueue()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", str(self._seed), str(MEMORY)],
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


def _pump(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def run(seed: int, count: int, first: int = 0) -> list[Verdict]:
    """The verdicts on ``count`` mutants of a seed."""
    worker = Worker(seed)
    try:
        return [worker.judge(number) for number in range(first, first + count)]
    finally:
        worker.stop()


def main() -> None:
    """Judge, count, and exit with 1 where there are findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    parser.add_argument("--keep", type=Path, help="a folder for the mutants that are findings")
    arguments = parser.parse_args()
    verdicts = run(arguments.seed, arguments.count, arguments.first)
    counts = collections.Counter(
        f"{v.outcome} {v.why}".strip() if v.outcome == "refused" else v.outcome for v in verdicts
    )
    for outcome, count in counts.most_common():
        print(f"{count:6d}  {outcome}")
    print(f"{max(v.seconds for v in verdicts):6.2f}  seconds at most")
    findings = [v for v in verdicts if v.outcome in ("finding", "runtime")]
    for found in findings:
        print(
            f"{found.outcome} --seed {arguments.seed} --first {found.number}: {found.why} [{found.what}]"
        )
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            name = f"{arguments.seed}-{found.number}.onnx"
            (arguments.keep / name).write_bytes(mutant(arguments.seed, found.number)[0])
    sys.exit(any(v.outcome == "finding" for v in verdicts))


if __name__ == "__main__":
    main()
