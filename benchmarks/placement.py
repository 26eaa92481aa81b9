"""Where the nodes of a model ran, read from the profile of one run."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from fg_onnx.devices import open_on

_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Placement:
    """How many nodes ran where.

    Attributes:
        nodes: provider -> number of nodes.
        on_cpu: operator -> number of nodes that the CPU ran.
        floats_on_cpu: of these, those that read or write floats. The others reckon with shapes,
            which every runtime keeps on the host.
        copies: Memcpy nodes, between the host and a device.
    """

    nodes: Mapping[str, int]
    on_cpu: Mapping[str, int]
    floats_on_cpu: Mapping[str, int]
    copies: int


def placement_of(model: str | Path, feeds: Mapping[str, np.ndarray], device: str) -> Placement:
    """Run a model once on a device and count.

    Raises:
        RuntimeMissingError: the device is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_on(device, str(model), options)
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    copies = [args for args in ran if args["op_name"].startswith("Memcpy")]
    nodes = [args for args in ran if args not in copies]
    on_cpu = [args for args in nodes if args["provider"] == _CPU]
    return Placement(
        nodes=Counter(args["provider"] for args in nodes),
        on_cpu=Counter(args["op_name"] for args in on_cpu),
        floats_on_cpu=Counter(args["op_name"] for args in on_cpu if _has_floats(args)),
        copies=len(copies),
    )


def _has_floats(args: Mapping[str, object]) -> bool:
    tensors = [*args.get("input_type_shape", ()), *args.get("output_type_shape", ())]
    return any(kind.startswith(("float", "double")) for tensor in tensors for kind in tensor)
