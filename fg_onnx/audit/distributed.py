"""The same audit on Ray: Ray Data hands out parts, and every worker has a session of its own.

A part is measured by whoever gets it, and written under the name that it has anyway. So it does not
matter who measured it, nor how often: a worker that dies loses the part that it was at, which
another one is given, and an audit that was stopped goes on where it was, with Ray or without.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fg_onnx import errors
from fg_onnx.audit import probes
from fg_onnx.audit.auditing import Engine
from fg_onnx.audit.model import Opened
from fg_onnx.audit.records import Measured, Records
from fg_onnx.audit.running import Subject, Tick, Timing, run_parts
from fg_onnx.errors import EngineError, FgOnnxError, InputError, RuntimeMissingError, first_line
from fg_onnx.instrumentation import Instrumented
from fg_onnx.session import Session
from fg_onnx.silence import silent_stderr

_PARTS = 8  # that a worker is given at once, at most: it reads ahead from one to the next
_ROUNDS = 4  # that every worker has at least, so that none is left with all of the rest
_TRIES = 3  # of a task whose workers die, for an image may be what they die of
_STORE = 2**28  # bytes that Ray takes of shared memory; what is more it keeps on disk
_CPU = "cpu"
_SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Cluster:
    """On what an audit is spread.

    Attributes:
        address: of a Ray cluster; None: one is started on this machine, and ended afterwards.
        workers: how many sessions there are; None: as many as there are CPUs, or GPUs for them.
        gpus: that each of them has, such as 0.5; 0: each has a CPU.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0


def on_ray(opened: Opened, cluster: Cluster, *, tf32: bool = False) -> Engine:
    """What measures the parts of an audit on Ray.

    Args:
        opened: the model.
        cluster: where.
        tf32: as the session of `opened` was told.

    Raises:
        RuntimeMissingError: ``no-ray``.
        InputError: ``no-gpus``: the workers would run on another device than this process.
    """
    ray = require_ray()
    device = opened.session.device.partition(":")[0]  # a worker's GPUs have numbers of their own
    on_gpu = device != _CPU
    if on_gpu != (cluster.gpus > 0):
        raise InputError(
            "no-gpus",
            f"the model runs on {opened.session.device} here, and "
            f"{'no GPU is given to the workers' if on_gpu else 'the workers are given GPUs'}",
            "give --gpus-per-worker with --device cuda, or --device cpu without it",
        )
    probed, _ = probes.add_probes(opened.instrumented)

    def measure(subject: Subject, records: Records[Measured], tick: Tick | None) -> Timing:
        pending = records.pending()
        if not pending:
            return Timing(0, 0, 0)
        with _connected(ray, cluster) as count:
            size = max(1, min(_PARTS, len(pending) // (count * _ROUNDS)))
            tasks = [pending[at : at + size] for at in range(0, len(pending), size)]
            over = partial(
                Subject,
                steps=subject.steps,
                items=subject.items,
                inside=subject.inside,
                batch=subject.batch,
            )
            job = Job(probed, device, tf32, over, records, tasks, Path.cwd())
            return _measure(ray, job, count, cluster.gpus, tick)

    return measure


def require_ray() -> Any:
    """The module ``ray``, with ``ray.data`` in it.

    Raises:
        RuntimeMissingError: ``no-ray``.
    """
    # before the import, which reads them; what Ray's own processes have to say is in its logs
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise RuntimeMissingError(
            "no-ray",
            "Ray Data, which spreads an audit over machines, is not installed",
            'pip install "fg-onnx[ray]"',
        ) from error


# --- in the workers -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Job:
    """All that a worker needs to know; it travels by value.

    Attributes:
        model: with the counts of its activations.
        device: ``cpu``, on one thread; else the kind, on the first GPU that the worker sees.
        tf32: as in `Session`.
        over: makes the subject of a session.
        records: where the rows are kept.
        tasks: the parts that are measured at once.
        folder: that paths count from.
    """

    model: Instrumented
    device: str
    tf32: bool
    over: Callable[[Session], Subject]
    records: Records[Measured]
    tasks: Sequence[Sequence[int]]
    folder: Path

    def opened(self) -> Subject:
        """The subject with a session."""
        threads = 1 if self.device == _CPU else None
        return self.over(Session(self.model, device=self.device, threads=threads, tf32=self.tf32))


class Tries:
    """How often each task was begun, which workers that die do not remember; an actor."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, task: int) -> int:
        """How often it was, this time included."""
        self._counts[task] += 1
        return self._counts[task]


class Worker:
    """Measures what it is given, with one session.

    Args:
        job: a reference to the `Job`.
        tries: the actor `Tries`.
    """

    def __init__(self, job: Any, tries: Any) -> None:
        self._ray = require_ray()
        self._job: Job = self._ray.get(job)
        self._tries = tries
        self._subject: Subject | None = None
        with contextlib.suppress(OSError):  # not there: then nothing needs it, or `_require_seen`
            os.chdir(self._job.folder)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What a task took, and what stood in the way, as a row."""
        (task,) = map(int, batch["task"])
        timing, fault = Timing(0, 0, 0), ""
        try:
            self._require_untried(task)
            timing = self._run(self._job.tasks[task])
        except FgOnnxError as error:
            fault = json.dumps([type(error).__name__, error.code, error.message, error.hint])
        return {"task": [task], "busy": [timing.busy], "fault": [fault]}

    def _require_untried(self, task: int) -> None:
        """Fail where workers die again and again, which Ray would replace for ever."""
        if self._ray.get(self._tries.begin.remote(task)) > _TRIES:
            job = self._job
            part = next(part for part in job.tasks[task] if not job.records.is_whole(part))
            first, last = (job.records.name_of(job.records.numbers(part)[at]) for at in (0, -1))
            raise EngineError(
                "workers-die",
                f"{_TRIES} workers died of what lies between `{first}` and `{last}`",
                "audit these images alone to see which; is there enough memory?",
            )

    def _run(self, parts: Sequence[int]) -> Timing:
        records = self._job.records
        # what a worker that died had finished is not done again
        left = [part for part in parts if not records.is_whole(part)]
        self._subject = self._subject or self._job.opened()
        _require_seen(self._subject, records, left)
        return run_parts(self._subject, records, left)


def _require_seen(subject: Subject, records: Records[Measured], parts: Sequence[int]) -> None:
    """Fail where images would be taken for broken that this machine only does not see."""
    paths = [subject.items[number].path for part in parts for number in records.numbers(part)]
    for folder in {path.parent for path in paths if isinstance(path, Path)}:
        if not folder.is_dir():
            raise InputError(
                "not-shared",
                f"a worker does not see the folder `{folder}`",
                "give images that every machine of the cluster sees, such as by a URL",
            )


# --- in the driver ------------------------------------------------------------------------------


def _measure(ray: Any, job: Job, workers: int, gpus: float, tick: Tick | None) -> Timing:
    records = job.records
    began, busy = time.perf_counter(), 0.0
    tasks = [{"task": task} for task in range(len(job.tasks))]
    workers = min(workers, len(tasks))
    share = {"num_gpus": gpus} if gpus else {"num_cpus": 1}
    rows = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
        Worker,
        fn_constructor_args=(ray.put(job), ray.remote(num_cpus=0)(Tries).remote()),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers),
        **share,
    )
    images = 0
    for row in rows.iter_rows():
        if row["fault"]:
            raise _fault(row["fault"])
        parts = job.tasks[row["task"]]
        _require_there(records, parts)
        done = sum(len(records.numbers(part)) for part in parts)
        images += done
        busy += row["busy"]
        if tick is not None:
            tick(done)
    return Timing(time.perf_counter() - began, busy / workers, images)


def _fault(text: str) -> FgOnnxError:
    kind, *said = json.loads(text)
    found: FgOnnxError = getattr(errors, kind)(*said)
    return found


def _require_there(records: Records[Measured], parts: Sequence[int]) -> None:
    if not all(map(records.is_whole, parts)):
        raise errors.OutputError(
            "not-shared",
            "what the workers write is not seen here",
            "choose a place with -o that every machine of the cluster sees, such as a URL",
        )


@contextlib.contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[int]:
    """How many workers there are to be, while there is a cluster."""
    own = not ray.is_initialized()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if own:
            with silent_stderr():  # it says there that it is told to be silent
                _start(ray, cluster)
            _restore(handler)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        yield _count(ray, cluster)
    except ray.exceptions.RayError as error:
        raise EngineError(
            "ray-failed", f"Ray gave up: {first_line(error)}", "see the logs of Ray, and try again"
        ) from error
    finally:
        if own:
            ray.shutdown()
            _restore(handler)


def _restore(handler: Any) -> None:
    """Ray puts its own in the place of whoever listens to SIGTERM."""
    with contextlib.suppress(ValueError):  # in another thread than the main one there is none
        signal.signal(signal.SIGTERM, handler)


def _start(ray: Any, cluster: Cluster) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if cluster.address is None:
        ray.init(
            address="local",
            num_cpus=None if cluster.gpus else cluster.workers,
            include_dashboard=False,
            object_store_memory=_STORE,
            **quiet,
        )
        return
    try:
        _knock(cluster.address)
        ray.init(address=cluster.address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            "no-cluster",
            f"there is no Ray cluster at `{cluster.address}`: {first_line(error)}",
            "check the address, or leave --address out to start one on this machine",
        ) from error


def _knock(address: str) -> None:
    """Fail at once where nobody listens, which Ray waits minutes for."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _count(ray: Any, cluster: Cluster) -> int:
    has = ray.cluster_resources()
    room = int(has.get("GPU", 0) / cluster.gpus) if cluster.gpus else int(has.get("CPU", 0))
    wanted = cluster.workers or room
    if wanted > room or not room:
        what = f"{cluster.gpus:g} GPU" if cluster.gpus else "a CPU"
        raise InputError(
            "too-many-workers",
            f"the cluster has room for {room} workers of {what} each, not {wanted or 'any'}",
            "give fewer --workers, or less --gpus-per-worker",
        )
    return wanted
