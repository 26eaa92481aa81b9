"""The benchmark of GPUs, as far as it can be held to its word without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES

from benchmarks import gpu, gpu_table, timing
from benchmarks.gpu_table import FORWARD, FULLGRAD, MAP, TORCH_FORWARD, TORCH_GRADIENT, Found
from benchmarks.placement import placement_of
from benchmarks.prepared import MODELS
from benchmarks.timing import Cell, Limits

ROOT = Path(__file__).parents[1]


@pytest.mark.torch
def test_a_reduced_run(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["about"]["what"].startswith("reduced")
    assert found["about"]["command"].startswith("python -m benchmarks.gpu --device cpu")
    assert found["about"]["onnxruntime"]
    assert found["about"]["torch"]
    cells = {cell["method"]: cell for cell in found["cells"]}
    assert set(cells) == {FORWARD, MAP, TORCH_FORWARD, TORCH_GRADIENT, FULLGRAD}
    for cell in cells.values():
        assert (cell["model"], cell["precision"], cell["batch"]) == ("mobilenet_v2", "fp32", 1)
        assert cell["error"] == ""
        assert cell["images_per_second"] == pytest.approx(1e3 / cell["ms"])
    assert cells[MAP]["ms"] > cells[FORWARD]["ms"]
    assert cells[MAP]["residual"] <= 1e-4
    assert cells[MAP]["difference"] <= 1e-4  # the same runtime, bound otherwise
    (placement,) = found["placements"]
    assert set(placement["nodes"]) == {"CPUExecutionProvider"}
    assert sum(placement["on_cpu"].values()) == placement["nodes"]["CPUExecutionProvider"] > 100
    assert placement["copies"] == 0
    assert found["failures"] == []
    assert all(line.endswith("not measured") for line in found["targets"].values())
    assert (tmp_path / "gpu.md").read_text().strip() == done.stdout.strip()


def test_nodes_are_counted_where_they_ran(tmp_path):
    sample = SAMPLES["two_inputs"]
    path = tmp_path / "model.onnx"
    path.write_bytes(sample.model.SerializeToString())
    found = placement_of(path, sample.feeds, "cpu")
    assert found.copies == 0
    assert set(found.nodes) == {"CPUExecutionProvider"}
    assert sum(found.on_cpu.values()) == sum(found.nodes.values()) >= 3
    assert found.floats_on_cpu == found.on_cpu  # no shapes are reckoned with
    shapes = SAMPLES["dynamic_batch"]
    path.write_bytes(shapes.model.SerializeToString())
    found = placement_of(path, shapes.feeds, "cpu")
    assert 0 < sum(found.floats_on_cpu.values()) <= sum(found.on_cpu.values())


def test_a_process_that_fails_is_a_line_and_its_cells_a_reason(tmp_path, monkeypatch):
    """No such folder, so that both halves end at once; the table is written all the same."""
    given = ["gpu", "--prepared", str(tmp_path), "--device", "cpu", "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.setattr(gpu, "prepare", lambda *arguments: None)
    monkeypatch.setattr(gpu, "HALVES", {"benchmarks.gpu_ort": (FORWARD, MAP)})
    monkeypatch.chdir(ROOT)
    gpu.main()
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert [cell["method"] for cell in found["cells"]] == [FORWARD, MAP]
    assert all(cell["error"] for cell in found["cells"])
    assert "## What did not run" in (tmp_path / "out" / "gpu.md").read_text()


def test_a_process_that_crashes_or_hangs():
    lines, reason = gpu._run(
        [
            sys.executable,
            "-c",
            'print(\'noise\\n{"kind": "versions"}\'); raise SystemExit("no memory")',
        ],
        60,
    )
    assert lines == [{"kind": "versions"}]
    assert reason == "the process ended with 1: no memory"
    lines, reason = gpu._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    assert (lines, reason) == ([], "not run: out of time")
    assert gpu._run([sys.executable, "-c", ""], 60) == ([], "")


def test_one_run_that_fails_and_time_that_is_over():
    cell = Cell("net", "fp32", 64, MAP)

    def fails():
        raise MemoryError("no room for 26 GiB\nat all")

    limits = Limits(repeats=5, deadline=time.monotonic() + 60, baseline_mib=None)
    assert limits.measured(cell, fails).error == "MemoryError: no room for 26 GiB"
    calls = []
    done = limits.measured(cell, lambda: calls.append(time.sleep(1e-3)))
    assert (len(calls), done.error, done.memory_mib) == (7, "", None)
    assert done.ms >= 1
    late = Limits(repeats=5, deadline=time.monotonic() - 1, baseline_mib=None)
    assert late.measured(cell, fails).error == "not run: out of time"


def test_the_memory_of_the_gpu_that_cuda_shows_is_asked_for(monkeypatch, tmp_path):
    """By its name: with CUDA_VISIBLE_DEVICES its index is another one to nvidia-smi."""
    asked = tmp_path / "nvidia-smi"
    asked.write_text('#!/bin/sh\necho "$@" | grep -q -- "-i GPU-of-1$" && echo 1234\n')
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(timing, "cuda_uuid", {0: "GPU-of-0", 1: "GPU-of-1"}.get)
    assert timing.gpu_memory(1) == 1234
    assert timing.gpu_memory(0) is None
    assert timing.gpu_memory(2) is None


def _cells(*models, **ms):
    methods = {"f": FORWARD, "m": MAP, "t": TORCH_FORWARD, "g": TORCH_GRADIENT, "a": FULLGRAD}
    return [
        Cell(model, "fp32", 64, methods[key], ms=value)
        for model in models or ("resnet50",)
        for key, value in ms.items()
    ]


def judgements(cells):
    return [line.split(": ")[1].split(" (")[0] for line in gpu_table.targets(cells).values()]


def test_targets_are_judged_by_what_was_measured():
    met = _cells(*MODELS, f=10.0, m=30.0, g=30.0, a=300.0)
    assert judgements(met) == ["met"] * 3
    assert "resnet50 3.00" in gpu_table.targets(met)["map_over_forward"]
    missed = _cells(*MODELS, f=10.0, m=31.0, g=30.0, a=300.0)
    assert judgements(missed) == ["missed"] * 3
    light = _cells("mobilenet_v2", f=1.0, m=1.0)
    assert gpu_table.targets(light)["map_over_forward"].endswith("not measured")


def test_a_target_that_not_all_nets_were_measured_for_is_not_met():
    cells = [
        *_cells("resnet50", "mobilenet_v2", f=10.0, m=20.0, g=30.0, a=300.0),
        Cell("vgg16_bn", "fp32", 64, MAP, error="out of memory"),
        *_cells("vgg16_bn", f=10.0),
        Cell("densenet121", "fp32", 64, MAP, error="not run: out of time"),
    ]
    dense, authors, gradient = gpu_table.targets(cells).values()
    assert dense.endswith(": not measured for vgg16_bn, densenet121 (resnet50 2.00)")
    rest = "vgg16_bn, densenet121, tf_efficientnet_lite0"
    assert f": not measured for {rest} (resnet50 15.00," in authors
    assert f": not measured for {rest} (resnet50 1.50," in gradient
    slow = gpu_table.targets(_cells("resnet50", f=10.0, m=40.0))["map_over_forward"]
    assert slow.endswith(": missed (resnet50 4.00), not measured for vgg16_bn, densenet121")


def test_the_table():
    failed = Cell("resnet50", "fp32", 64, FULLGRAD, error="OutOfMemoryError: 26 GiB")
    cells = [*_cells(f=10.0, m=20.0), failed]
    placement = {
        "model": "resnet50",
        "precision": "fp32",
        "nodes": {"CUDAExecutionProvider": 300, "CPUExecutionProvider": 2},
        "floats_on_cpu": {"Shape": 1},
        "copies": 1,
    }
    text = Found({"device": "cuda:0"}, cells, [placement]).markdown()
    assert "| 64 | 6400.0 | 3200.0 | 2.00 | - | - | - | - | - | - | -, -, - |" in text
    assert "300 on CUDAExecutionProvider, 2 on CPUExecutionProvider" in text
    assert "1 touch floats; 1 Memcpy" in text
    assert "- resnet50, fp32, 64, torch FullGrad: OutOfMemoryError: 26 GiB" in text


def test_what_is_measured_by_default():
    assert len(MODELS) == 5
    assert gpu.BATCHES == (1, 8, 64)
    assert MODELS[:3] == gpu_table.DENSE
    assert np.all([name in MODELS for name in gpu.REDUCED["models"]])
