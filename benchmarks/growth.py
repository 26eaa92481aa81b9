"""How the time to instrument grows with the nodes, and the time to run with batch and pixels.

    python -m benchmarks.growth [--nodes 100 ... 10000] [--chart docs/images/growth.svg]

Synthetic nets of two channels: a chain of Conv and Relu, residual blocks, and Conv with SiLU, so
that what is measured is the work on the graph and not on weights. Running is measured on
SqueezeNet 1.1, in one thread. The tables go to stdout; a column of cost per unit that stays level
is linear growth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import fg_onnx

NODES = (100, 300, 1000, 3000, 10_000)
KINDS = ("chain", "residual", "silu")
BATCHES = (1, 2, 4, 8, 16)
SIDES = (112, 160, 224, 320, 448)
_CHANNELS = 2


def net(kind: str, nodes: int) -> onnx.ModelProto:
    """A classifier of so many nodes, or a few less.

    Args:
        kind: one of `KINDS`.
        nodes: how many.
    """
    rng = np.random.default_rng(0)
    made: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def node(op: str, *inputs: str, **attributes: object) -> str:
        name = f"{op.lower()}_{len(made)}"
        made.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(x: str) -> str:
        names = f"w_{len(made)}", f"b_{len(made)}"
        kernel = rng.normal(0, 0.3, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32)
        bias = rng.normal(0, 1, _CHANNELS).astype(np.float32)
        weights.extend(map(numpy_helper.from_array, (kernel, bias), names))
        return node("Conv", x, *names, pads=[1, 1, 1, 1])

    def residual(x: str) -> str:
        inner = conv(node("Relu", conv(x)))
        return node("Relu", node("Add", inner, x))

    def silu(x: str) -> str:
        y = conv(x)
        return node("Mul", y, node("Sigmoid", y))

    block = {"chain": lambda x: node("Relu", conv(x)), "residual": residual, "silu": silu}[kind]
    x = block("x")
    size = len(made)
    while len(made) + size + 2 <= nodes:
        x = block(x)
    y = node("Flatten", node("GlobalAveragePool", x))
    graph = helper.make_graph(
        made,
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", _CHANNELS, 8, 8])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", _CHANNELS])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median of some runs after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def instrumenting(sizes: Sequence[int]) -> dict[str, list[tuple[int, int, float]]]:
    """By kind: the nodes of the source and of what comes out, and seconds."""
    found: dict[str, list[tuple[int, int, float]]] = {}
    for kind in KINDS:
        for size in sizes:
            model = net(kind, size)
            taken = seconds(lambda model=model: fg_onnx.instrument(model), 3 if size < 3000 else 1)
            written = len(fg_onnx.instrument(model).model.graph.node)
            found.setdefault(kind, []).append((len(model.graph.node), written, taken))
    return found


def running() -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Seconds by batch at 224x224 pixels, and by the side of one image."""
    from sample_models import squeezenet

    session = fg_onnx.Session(
        fg_onnx.instrument(_of_any_size(squeezenet.write())), device="cpu", threads=1
    )
    rng = np.random.default_rng(0)

    def taken(batch: int, side: int) -> float:
        images = rng.normal(0, 60, (batch, 3, side, side)).astype(np.float32)
        return seconds(lambda: session.explain(images), 7)

    return [(n, taken(n, 224)) for n in BATCHES], [(side, taken(1, side)) for side in SIDES]


def _of_any_size(path: Path) -> onnx.ModelProto:
    model = onnx.load(path)
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    return model


def draw(found: dict[str, list[tuple[int, int, float]]], path: Path) -> None:
    """The seconds over the nodes, both in decades; a dotted line of slope 1 to compare with."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.4), layout="constrained")
    for kind, points in found.items():
        axes.loglog([p[0] for p in points], [p[2] for p in points], marker="o", label=kind)
    first, *_, last = found[KINDS[0]]
    axes.loglog(
        [first[0], last[0]],
        [first[2], first[2] * last[0] / first[0]],
        ":",
        color="gray",
        label="linear",
    )
    axes.set(xlabel="nodes of the model", ylabel="seconds to instrument")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print the tables, draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", nargs="+", type=int, default=NODES)
    parser.add_argument("--chart", type=Path, default=Path("docs/images/growth.svg"))
    asked = parser.parse_args()
    found = instrumenting(asked.nodes)
    print("| net | nodes | instrumented | seconds | ms a node |\n|---|---|---|---|---|")
    for kind, points in found.items():
        for nodes, written, taken in points:
            print(f"| {kind} | {nodes} | {written} | {taken:.2f} | {1e3 * taken / nodes:.2f} |")
    draw(found, asked.chart)
    by_batch, by_side = running()
    print("\n| batch | ms | ms an image |\n|---|---|---|")
    for batch, taken in by_batch:
        print(f"| {batch} | {1e3 * taken:.0f} | {1e3 * taken / batch:.1f} |")
    print("\n| pixels | ms | us a pixel |\n|---|---|---|")
    for side, taken in by_side:
        print(f"| {side}x{side} | {1e3 * taken:.1f} | {1e6 * taken / side**2:.3f} |")


if __name__ == "__main__":
    main()
