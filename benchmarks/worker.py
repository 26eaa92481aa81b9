"""One method on one net, in a process of its own that does as its standard input says.

    python -m benchmarks.worker METHOD NET FOLDER THREADS

Every line in is `{"batch": N, "warm_up": N, "runs": N}`, every line out says how many milliseconds
each run took, the most memory held since this batch was begun, beyond what imports take, how many
seconds all of it took, and how many seconds of processors others had meanwhile.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.methods import GRAD_CAM, METHODS, TORCH_FORWARD, TORCH_GRADIENT
from benchmarks.timing import said

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Load, then answer until there are no more questions."""
    method, net, folder, threads = sys.argv[1:]
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print too
    load = _load_torch if METHODS[method].library == "torch" else _load_ort
    prepared = baseline = run = batch = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if prepared is None:
                baseline, prepared = load(method, net, Path(folder), int(threads))
            if asked["batch"] != batch:
                run, batch = None, asked["batch"]  # what was held for the last one goes first
                run = prepared(batch)
                _forget_peak()
            busy, began = Busy.now(), time.perf_counter()
            for _ in range(asked["warm_up"]):
                run()
            answer = {"ms": [_timed(run) for _ in range(asked["runs"])]}
            answer["elsewhere"] = Busy.now().elsewhere(busy)
            answer["seconds"] = time.perf_counter() - began
            answer["peak_mib"] = round(_peak_mib() - baseline, 1)
        except Exception as error:  # noqa: BLE001  # one cell, not the table
            answer = {"error": said(error)}
        print(json.dumps(answer), file=answers)


@dataclass(frozen=True)
class Busy:
    """For how many seconds processors have been busy, all together, and with this process."""

    machine: float
    own: float

    @classmethod
    def now(cls) -> Busy:
        """Since both began; nothing where the system (not Linux) does not tell."""
        try:
            line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        except OSError:
            return cls(0.0, 0.0)
        user, nice, system, _idle, _waiting, *rest = map(int, line.split()[1:9])
        ticks = user + nice + system + sum(rest)  # rest: interrupts, and what the host took away
        times = os.times()
        return cls(ticks / os.sysconf("SC_CLK_TCK"), times.user + times.system)

    def elsewhere(self, before: Busy) -> float:
        """Of the seconds since, those of others; ticks are coarse, so that it may be negative."""
        return round(self.machine - before.machine - (self.own - before.own), 3)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return round((time.perf_counter() - start) * 1e3, 3)


def _end_with_parent() -> None:
    """A process that is stopped would not see that nobody asks any more (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _load_ort(method: str, _net: str, folder: Path, threads: int):
    from benchmarks import ort_runs
    from benchmarks.variants import Files

    baseline = _peak_mib()
    return baseline, ort_runs.loaded(method, Files(folder), threads)


def _load_torch(method: str, net: str, folder: Path, threads: int):
    import torch

    from benchmarks import nets, torch_runs
    from benchmarks.variants import Files

    torch.set_num_threads(threads)
    baseline = _peak_mib()
    module, files = nets.build(net), Files(folder)
    if method == GRAD_CAM:
        call = torch_runs.grad_cam(module)
    else:
        named = {TORCH_FORWARD: torch_runs.forward, TORCH_GRADIENT: torch_runs.gradient}
        call = named.get(method, torch_runs.fullgrad)

    def prepared(batch: int) -> Callable[[], object]:
        most = METHODS[method].most or batch
        images = torch.from_numpy(files.images(min(batch, most)))
        return lambda: call(module, images)

    return baseline, prepared


def _forget_peak() -> None:
    """Begin the peak anew, so that loading is not in it, where the system (Linux) can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_mib() -> float:
    """The most resident memory since it was forgotten last."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


if __name__ == "__main__":
    main()
