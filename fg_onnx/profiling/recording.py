"""A model run under ONNX Runtime's profiler: how long each kernel takes, and what graph that was.

The runtime fuses, reorders and adds nodes before it runs them, so its names are those of the graph
that it made; that one is written down and read beside the times.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx.closing import closed
from fg_onnx.devices import device_of, open_on, parse_device
from fg_onnx.errors import InputError, first_line
from fg_onnx.loading import feeds_biases, is_light
from fg_onnx.runtime import onnxruntime

Array = npt.NDArray[Any]

WARM_UP = 3  # runs: the first allocates, and the next still find cold caches
_SUFFIX = "_kernel_time"
_WEIGHT = 1024  # bytes; larger initializers are written beside the graph, and not read
_MOST_RUNS = 200  # the profiler keeps a million events, a kilobyte each


@dataclass(frozen=True)
class Kernel:
    """A node of the graph that the runtime made, and what it takes.

    Attributes:
        name: of the node.
        operator: that it runs, which may be the runtime's own.
        provider: the execution provider.
        seconds: wall time, the median over runs.
        reads: the types of its inputs' elements, as the runtime names them.
        writes: those of its outputs.
        shape: of its first output, None where there is none.
    """

    name: str
    operator: str
    provider: str
    seconds: float
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Recording:
    """What was measured.

    Attributes:
        kernels: in the order in which they ran.
        graph: that they ran, without its weights.
        profiled: seconds of a whole run under the profiler, the median.
        busy: the share of such a run in which kernels ran, the median.
        alone: the same without the profiler.
        runs: that medians are over.
        device: that the model ran on.
        threads: within an operator on the CPU; 0: the runtime's choice.
        runtime: the version of ONNX Runtime.
    """

    kernels: tuple[Kernel, ...]
    graph: onnx.GraphProto
    profiled: float
    busy: float
    alone: float
    runs: int
    device: str
    threads: int
    runtime: str


def record(
    proto: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    runs: int = 20,
    device: str = "auto",
    threads: int | None = None,
    tf32: bool = False,
) -> Recording:
    """Run a model under the profiler, and then as often without.

    Args:
        proto: the model, each of whose nodes has a name of its own (see `origins.named`). Its
            promoted biases are constants unless one is fed, as `fg_onnx.Session` has it.
        feeds: its inputs.
        runs: that are measured, after some that are not.
        device: as `fg_onnx.Session` takes it, but for TensorRT.
        threads: within an operator on the CPU; None: the runtime's choice.
        tf32: as `fg_onnx.Session` takes it.

    Raises:
        InputError: the device is none, or TensorRT; or the model does not run on what it is fed.
        RuntimeMissingError: no runtime is installed, or the device is not there.
        ModelError: the runtime does not take the model.
    """
    _require(device, runs)
    ort = onnxruntime()
    with tempfile.TemporaryDirectory(prefix="fg-onnx-") as name:
        folder = Path(name)
        options = _options(ort, folder, threads)
        data = proto.SerializeToString()
        form = data if feeds_biases(feeds) else closed(data)
        patterns = is_light(proto.graph.input, len(data))
        session = open_on(device, form, options, tf32=tf32, patterns=patterns)
        try:
            for _ in range(WARM_UP + runs):
                _run(session, feeds)
        finally:
            written = Path(session.end_profiling())
        alone = []
        for _ in range(runs):
            began = time.perf_counter()
            _run(session, feeds)
            alone.append(time.perf_counter() - began)
        with written.open(encoding="utf-8") as lines:
            ran = measured(events(lines))
        graph = onnx.load(str(folder / "graph.onnx"), load_external_data=False).graph
    name_as_run(graph, ran.kernels)
    return Recording(
        ran.kernels,
        graph,
        ran.seconds,
        ran.busy,
        statistics.median(alone),
        ran.runs,
        str(device_of(session)),
        threads or 0,
        str(ort.__version__),
    )


def _require(device: str, runs: int) -> None:
    asked = parse_device(device)
    if asked is not None and asked.kind == "tensorrt":
        raise InputError(
            "no-profile",
            "TensorRT runs a model as one kernel, in which no part can be told from another",
            "give cpu or cuda, or profile the model with TensorRT's own trtexec",
        )
    if not 1 <= runs <= _MOST_RUNS:
        raise InputError("wrong-runs", f"{runs} runs cannot be measured", f"give 1 to {_MOST_RUNS}")


def _options(ort: Any, folder: Path, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.optimized_model_filepath = str(folder / "graph.onnx")
    beside = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(f"{beside}file_name", "weights.bin")
    options.add_session_config_entry(f"{beside}min_size_in_bytes", str(_WEIGHT))
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _run(session: Any, feeds: Mapping[str, Array]) -> None:
    try:
        session.run(None, dict(feeds))
    except Exception as error:  # a class of its own for every status code of the runtime
        shapes = {name: list(np.shape(value)) for name, value in feeds.items()}
        raise InputError(
            "run-fails",
            f"the model does not run on {shapes}: {first_line(error)}",
            "give other inputs with --feed NAME=FILE",
        ) from error


def events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What the profiler wrote, one event a line in a list; read so, for the file may be large."""
    for line in lines:
        text = line.strip().removesuffix(",")
        if text not in ("", "[", "]"):
            yield json.loads(text)


def name_as_run(graph: onnx.GraphProto, kernels: Iterable[Kernel]) -> None:
    """Give the nodes without a name those that the profiler has for them.

    The runtime makes such nodes where it writes out an operator that it has no kernel for. Both
    lists are in the order of the run. Changes the graph.
    """
    held = {node.name for node in graph.node}
    others: dict[str, deque[str]] = defaultdict(deque)
    for kernel in kernels:
        if kernel.name not in held:
            others[kernel.operator].append(kernel.name)
    for node in graph.node:
        if not node.name and others[node.op_type]:
            node.name = others[node.op_type].popleft()


@dataclass(frozen=True)
class Measured:
    """Medians over all runs but the first `WARM_UP`.

    Attributes:
        kernels: in the order in which they ran.
        seconds: of a whole run.
        busy: the share of a run in which kernels ran.
        runs: that the profiler has kept.
    """

    kernels: tuple[Kernel, ...]
    seconds: float
    busy: float
    runs: int


def measured(found: Iterable[Mapping[str, Any]]) -> Measured:
    """What the events of a profile say of a run.

    What runs within another node, in a branch or the body of a loop, is part of that one.
    """
    nodes: list[tuple[int, int, Mapping[str, Any]]] = []
    whole: list[tuple[int, int]] = []
    for event in found:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            nodes.append((event["ts"], event["dur"], event))
        elif event.get("name") == "model_run":
            whole.append((event["ts"], event["dur"]))
    whole.sort()
    starts = [start for start, _ in whole]
    within = [0] * len(whole)
    nodes.sort(key=lambda node: (node[0], -node[1]))
    times: dict[str, list[int]] = defaultdict(list)
    first: dict[str, Mapping[str, Any]] = {}
    end = 0
    for start, length, event in nodes:
        if start < end:
            continue
        end = start + length
        times[event["name"]].append(length)
        within[bisect_right(starts, start) - 1] += length
        first.setdefault(event["name"], event)
    kernels = tuple(_kernel(event, _median(times[name]) / 1e6) for name, event in first.items())
    lengths = [length for _, length in whole]
    shares = [own / max(length, 1) for own, length in zip(within, lengths, strict=True)]
    return Measured(kernels, _median(lengths) / 1e6, _median(shares), len(whole) - WARM_UP)


def _median(values: Sequence[float]) -> float:
    """Without the warm-up; what ran in some runs alone is counted in those."""
    return statistics.median(values[WARM_UP:] or values)


def _kernel(event: Mapping[str, Any], seconds: float) -> Kernel:
    told = event["args"]
    inputs = [pair for entry in told.get("input_type_shape", ()) for pair in entry.items()]
    outputs = [pair for entry in told.get("output_type_shape", ()) for pair in entry.items()]
    return Kernel(
        event["name"].removesuffix(_SUFFIX),
        told["op_name"],
        told["provider"],
        seconds,
        tuple(kind for kind, _ in inputs),
        tuple(kind for kind, _ in outputs),
        tuple(outputs[0][1]) if outputs else None,
    )
