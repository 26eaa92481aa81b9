"""A worker: reads numbers of mutants on stdin, judges each, and answers on stdout, a line each.

Before every stage it says which, so that whoever waits knows where a crash or a hang was.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.mutants import mutant
from tests.fuzz.verdict import FINDING, judge

_COMMANDS_EVERY = 3


def main() -> None:
    """``SEED MEMORY``: the seed, and how many bytes more than it has now the worker may take."""
    seed, memory = int(sys.argv[1]), int(sys.argv[2])
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def answer(**fields: object) -> None:
        channel.write(json.dumps(fields) + "\n")
        channel.flush()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.onnx"
        os.chdir(folder)
        for line in sys.stdin:
            number = int(line)
            answer(stage="mutate")
            data, what = mutant(seed, number)
            path.write_bytes(data)
            started = time.monotonic()
            outcome, why = judge(
                path, lambda stage: answer(stage=stage), commands=number % _COMMANDS_EVERY == 0
            )
            strays = {file.name for file in Path(folder).iterdir()} - {path.name, "made.onnx"}
            if strays:
                outcome, why = FINDING, f"files left: {sorted(strays)}"
            seconds = round(time.monotonic() - started, 2)
            answer(outcome=outcome, why=why, what=what, seconds=seconds)


if __name__ == "__main__":
    main()
