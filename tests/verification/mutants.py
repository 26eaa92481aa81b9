"""Instrumented models with one thing changed: ``python -m tests.verification.mutants``.

Systematic: every weight, default and constant; every node, of the forward part and of what was
added, bypassed, its operator, operands, edges and attributes changed, its result scaled; every
output of the contract, every field of the manifest. Prints, for each kind of change, how many there
were, how many were caught, how many are equivalent (nothing that the model puts out changes, for
many images, targets and biases), and what is left.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fg_onnx import manifest, verify
from fg_onnx.errors import FgOnnxError
from fg_onnx.runtime import open_session

OPERATORS = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add",),
    "Mul": ("Add", "Div"),
    "Div": ("Mul",),
    "Greater": ("GreaterOrEqual", "Less"),
    "GreaterOrEqual": ("Greater", "Less"),
    "Less": ("LessOrEqual", "Greater"),
    "LessOrEqual": ("Less", "Greater"),
    "And": ("Or",),
    "Abs": ("Neg", "Relu"),
    "Relu": ("Abs", "LeakyRelu", "Sigmoid"),
    "Neg": ("Identity",),
    "ReduceSum": ("ReduceMean", "ReduceMax"),
    "ReduceMean": ("ReduceSum",),
    "ReduceMax": ("ReduceMin",),
    "ReduceMin": ("ReduceMax",),
    "ArgMax": ("ArgMin",),
    "Reciprocal": ("Neg",),
    "Sqrt": ("Abs",),
    "Sigmoid": ("Tanh",),
    "HardSigmoid": ("Sigmoid", "Relu"),
    "MaxPool": ("AveragePool",),
    "GlobalAveragePool": ("GlobalMaxPool",),
}
ORDERED = {"Sub", "Div", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "MatMul"}


@dataclass(frozen=True)
class Mutant:
    """A changed model: the kind of change, where, and the model."""

    kind: str
    where: str
    model: onnx.ModelProto


def mutants(model: onnx.ModelProto, source: onnx.ModelProto) -> Iterator[Mutant]:
    """All changes of an instrumented model of a source."""
    parts = Parts(model, source)
    yield from _weights(model, parts)
    for index in range(len(model.graph.node)):
        yield from _nodes(model, index, parts)
    yield from _rewired(model, parts)
    yield from _outputs(model)
    yield from _manifests(model)


class Parts:
    """What a tensor of an instrumented model is there for."""

    def __init__(self, model: onnx.ModelProto, source: onnx.ModelProto) -> None:
        self._forward = {t for node in source.graph.node for t in (*node.input, *node.output)}
        norms = [node for node in source.graph.node if node.op_type == "BatchNormalization"]
        self._statistics = {name for node in norms for name in node.input[1:5]}
        self._leads_to = {value.name: {value.name} for value in model.graph.output}
        for node in reversed(model.graph.node):
            ends = set().union(*(self._leads_to.get(name, ()) for name in node.output))
            for name in node.input:
                self._leads_to.setdefault(name, set()).update(ends)

    def of_node(self, node: onnx.NodeProto) -> str:
        """``forward``, or what it was added for."""
        if self._forward.intersection(node.output):
            return "forward"
        return self._of_ends(set().union(*(self._leads_to.get(n, ()) for n in node.output)))

    def of_weight(self, name: str) -> str:
        """The kind of a weight or constant."""
        if name.startswith(manifest.BIAS):
            return "promoted default"
        if name in self._statistics:
            return "BatchNorm statistic"
        if name in self._forward:
            return "forward weight"
        return f"{self._of_ends(self._leads_to.get(name, set()))} constant"

    @staticmethod
    def _of_ends(ends: set[str]) -> str:
        if ends & {manifest.SCORE, manifest.EXPLAINED}:
            return "score"
        if all(e == manifest.SALIENCY or e.startswith(manifest.LAYER_MAP) for e in ends):
            return "map"
        return "contributions" if ends == {manifest.CONTRIBUTIONS} else "adjoint"


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _weights(model: onnx.ModelProto, parts: Parts) -> Iterator[Mutant]:
    draws = np.random.default_rng(0)
    for index, tensor in enumerate(model.graph.initializer):
        array = numpy_helper.to_array(tensor).copy()
        if not array.size:
            continue
        entry = np.unravel_index(draws.integers(array.size), array.shape)
        changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "one entry": lambda a, e=entry: _at(a, e),
            "all entries": _all,
        }
        for word, change in changes.items():
            mutant = _copy(model)
            changed = numpy_helper.from_array(change(array), tensor.name)
            mutant.graph.initializer[index].CopyFrom(changed)
            yield Mutant(parts.of_weight(tensor.name), f"{tensor.name}, {word}", mutant)


def _all(array: np.ndarray) -> np.ndarray:
    scales = array.dtype.kind == "f" and array.any()
    return (array * 1.1 if scales else array + 1).astype(array.dtype)


def _at(array: np.ndarray, entry: tuple[int, ...]) -> np.ndarray:
    array = array.copy()
    if array.dtype.kind == "b":
        array[entry] = ~array[entry]
    elif array.dtype.kind == "f":
        array[entry] += 0.1 * (np.abs(array).max() or 1.0)
    else:
        array[entry] += 1
    return array


def _nodes(model: onnx.ModelProto, index: int, parts: Parts) -> Iterator[Mutant]:
    node = model.graph.node[index]
    part = parts.of_node(node)
    kind = f"{part} node"
    where = f"{node.op_type} {node.name or node.output[0]}"
    for place, operand in enumerate(node.input):
        if operand and node.op_type not in ("Identity", "Shape"):
            mutant = _copy(model)
            mutant.graph.node[index].CopyFrom(
                helper.make_node("Identity", [operand], node.output[:1], node.name)
            )
            yield Mutant(kind, f"{where} bypassed by operand {place}", mutant)
    for other in OPERATORS.get(node.op_type, ()):
        mutant = _copy(model)
        mutant.graph.node[index].op_type = other
        yield Mutant(kind, f"{where} -> {other}", mutant)
    if node.op_type in ORDERED:
        mutant = _copy(model)
        first, second = node.input[:2]
        mutant.graph.node[index].input[:2] = [second, first]
        yield Mutant(kind, f"{where} operands swapped", mutant)
    for place, attribute in enumerate(node.attribute):
        for change in _attributes(attribute):
            mutant = _copy(model)
            mutant.graph.node[index].attribute[place].CopyFrom(change)
            yield Mutant(_attribute_kind(part), f"{where} {attribute.name}", mutant)
    if part != "forward" and node.op_type != "Constant":
        for factor in (-1.0, 1.05):
            mutant = _copy(model)
            _scale(mutant.graph, index, factor)
            yield Mutant(kind, f"{where} times {factor:g}", mutant)


def _attribute_kind(part: str) -> str:
    return "forward attribute" if part == "forward" else "added attribute"


def _rewired(model: onnx.ModelProto, parts: Parts) -> Iterator[Mutant]:
    """Every edge led from another tensor of its type and shape, made before, where there is one."""
    draws = np.random.default_rng(1)
    graph = model.graph
    kinds = {
        value.name: value.type.SerializeToString(deterministic=True)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    for weight in graph.initializer:
        like = helper.make_tensor_type_proto(weight.data_type, weight.dims)
        kinds[weight.name] = like.SerializeToString(deterministic=True)
    ready = [weight.name for weight in graph.initializer]
    ready += [value.name for value in graph.input if value.name not in ready]
    for index, node in enumerate(graph.node):
        for place, name in enumerate(node.input):
            others = [t for t in ready if t != name and name in kinds and kinds[t] == kinds[name]]
            if not others:
                continue
            other = others[draws.integers(len(others))]
            mutant = _copy(model)
            mutant.graph.node[index].input[place] = other
            kind = "forward edge" if parts.of_node(node) == "forward" else "added edge"
            yield Mutant(kind, f"{node.op_type} {node.output[0]}: {name} -> {other}", mutant)
        ready += [name for name in node.output if name in kinds]


def _scale(graph: onnx.GraphProto, index: int, factor: float) -> None:
    """Multiply a node's result; the runtime refuses it where that is no float32."""
    name = graph.node[index].output[0]
    graph.node[index].output[0] = f"{name}/was"
    graph.initializer.append(numpy_helper.from_array(np.float32(factor).reshape(()), f"{name}/by"))
    graph.node.insert(index + 1, helper.make_node("Mul", [f"{name}/was", f"{name}/by"], [name]))


def _attributes(attribute: onnx.AttributeProto) -> Iterator[onnx.AttributeProto]:
    value = helper.get_attribute_value(attribute)
    changed: list[object] = []
    if isinstance(value, bool | int):
        changed = [value + 1, 1 - value] if value in (0, 1) else [value + 1]
    elif isinstance(value, float):
        changed = [value * 2 + 0.1]
    elif isinstance(value, list) and value and isinstance(value[0], int):
        changed = [[value[0] + 1, *value[1:]], value[::-1]]
    elif isinstance(value, bytes):
        swaps = {
            b"align_corners": "half_pixel",
            b"half_pixel": "align_corners",
            b"linear": "nearest",
        }
        changed = [swaps[value]] if value in swaps else []
    for each in changed:
        if each != value:
            yield helper.make_attribute(attribute.name, each)


def _outputs(model: onnx.ModelProto) -> Iterator[Mutant]:
    names = [value.name for value in model.graph.output]
    own = [name for name in names if name.startswith("fg_")]
    for name in own:
        mutant = _copy(model)
        _rename(mutant, name, f"{name}_old")
        yield Mutant("output", f"{name} renamed", mutant)
        mutant = _copy(model)
        kept = [value for value in mutant.graph.output if value.name != name]
        del mutant.graph.output[:]
        mutant.graph.output.extend(kept)
        yield Mutant("output", f"{name} dropped", mutant)
        mutant = _copy(model)
        index = next(i for i, node in enumerate(mutant.graph.node) if name in node.output)
        _scale(mutant.graph, index, float("nan"))
        yield Mutant("output", f"{name} not a number", mutant)
    for one, other in itertools.pairwise(own):
        mutant = _copy(model)
        for node in mutant.graph.node:
            swap = {one: other, other: one}
            node.output[:] = [swap.get(name, name) for name in node.output]
        yield Mutant("output", f"{one} and {other} swapped", mutant)
    for name in names:
        if name.startswith("fg_"):
            continue
        mutant = _copy(model)
        index = next(i for i, n in enumerate(mutant.graph.node) if name in n.output)
        own_index = list(mutant.graph.node[index].output).index(name)
        mutant.graph.node[index].output[own_index] = f"{name}/was"
        for node in mutant.graph.node:
            node.input[:] = [f"{name}/was" if i == name else i for i in node.input]
        mutant.graph.initializer.append(numpy_helper.from_array(np.float32(1.001), f"{name}/by"))
        mutant.graph.node.append(helper.make_node("Mul", [f"{name}/was", f"{name}/by"], [name]))
        yield Mutant("output", f"{name} scaled", mutant)
    promoted = [v.name for v in model.graph.input if v.name.startswith(manifest.BIAS)]
    for one, other in itertools.pairwise(promoted):
        mutant = _copy(model)
        for node in mutant.graph.node:
            swap = {one: other, other: one}
            node.input[:] = [swap.get(name, name) for name in node.input]
        yield Mutant("promoted default", f"{one} and {other} swapped", mutant)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
    for value in model.graph.output:
        if value.name == old:
            value.name = new


def _manifests(model: onnx.ModelProto) -> Iterator[Mutant]:
    index = next(i for i, e in enumerate(model.metadata_props) if e.key == manifest.METADATA_KEY)
    document = json.loads(model.metadata_props[index].value)
    changes: list[tuple[str, dict[str, object]]] = []
    for key, value in document.items():
        changes += [(key, {**document, key: other}) for other in _other(key, value)]
    for place, site in enumerate(document["sites"]):
        for key, value in site.items():
            for other in _other(key, value):
                sites = [*document["sites"]]
                sites[place] = {**site, key: other}
                changes.append((f"sites[{place}].{key}", {**document, "sites": sites}))
    if len(document["sites"]) > 1:
        changes.append(("sites reversed", {**document, "sites": document["sites"][::-1]}))
        changes.append(("site dropped", {**document, "sites": document["sites"][1:]}))
    for where, changed in changes:
        mutant = _copy(model)
        mutant.metadata_props[index].value = json.dumps(changed)
        kind = "source hash" if where == "source_sha256" else "manifest entry"
        yield Mutant(kind, where, mutant)


_FREE = {"tool_version", "output_reason", "preprocessing", "labels", "gradients"}
"""What a model says of itself beside its graph, and nothing in it can contradict."""


def _other(key: str, value: object) -> list[object]:
    if key in _FREE or key == "sites":
        return []
    others: dict[str, list[object]] = {
        "psi": ["paper" if value != "paper" else "reference"],
        "precision": ["float16"],
        "layout": ["nhwc" if value == "nchw" else "nchw"],
        "kind": ["implicit" if value != "implicit" else "bias"],
        "emits": [["saliency"], [*value, "layer-maps"] if isinstance(value, list) else []],
    }
    if key in others:
        return others[key]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, str):
        return [f"{value}x"]
    if isinstance(value, list) and value and isinstance(value[0], int):
        return [[value[0] + 1, *value[1:]]]
    return []


# --- the verdict ----------------------------------------------------------------------------------


def outcome(mutant: Mutant, source: onnx.ModelProto, original: onnx.ModelProto) -> str:
    """``caught``, ``invalid`` (the runtime does not take it), ``equivalent`` or ``missed``.

    A model on which the verification breaks down is missed.
    """
    graph_changed = mutant.kind not in ("manifest entry", "source hash")
    if graph_changed:
        try:
            open_session(mutant.model.SerializeToString())
        except FgOnnxError:
            return "invalid"
    try:
        if verify(mutant.model, source).verdict == "failed":
            return "caught"
    except FgOnnxError:
        return "caught"
    except Exception:  # noqa: BLE001
        return "missed"
    if graph_changed and _is_equivalent(mutant.model, original):
        return "equivalent"
    return "missed"


def _is_equivalent(mutant: onnx.ModelProto, original: onnx.ModelProto) -> bool:
    """Whether all outputs agree on many images of several sizes, other targets and other biases."""
    draws = np.random.default_rng(7)
    sessions = [open_session(model.SerializeToString()) for model in (original, mutant)]
    for _ in range(6):
        feeds = {}
        scale = 10 ** draws.uniform(-1, 1)
        for value in original.graph.input:
            kind = value.type.tensor_type
            shape = [dim.dim_value or 3 for dim in kind.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            if value.name == manifest.TARGET:
                feeds[value.name] = draws.integers(-1, 1, 1)
            elif dtype.kind == "f":
                feeds[value.name] = (scale * draws.standard_normal(shape)).astype(dtype)
            else:
                feeds[value.name] = draws.integers(0, 2, shape).astype(dtype)
        try:
            pairs = zip(*(session.run(None, feeds) for session in sessions), strict=True)
            for a, b in pairs:
                if a.shape != b.shape or np.abs(a - b).max() > 1e-6 * (np.abs(a).max() or 1.0):
                    return False
        except Exception:  # noqa: BLE001  the runtime's own
            return False
    return True


def sampled(every: Sequence[Mutant], most: int | None) -> list[Mutant]:
    """Of every kind at most so many, always the same ones."""
    kinds: dict[str, list[Mutant]] = collections.defaultdict(list)
    for mutant in every:
        kinds[mutant.kind].append(mutant)
    chosen = []
    for each in kinds.values():
        count = min(most or len(each), len(each))
        places = np.random.default_rng(0).choice(len(each), count, replace=False)
        chosen += [each[place] for place in sorted(places)]
    return chosen


def main() -> None:
    """Run the mutants of some sample models and print the table."""
    from fg_onnx import instrument
    from fg_onnx.manifest import EMITS
    from sample_models import tasks, tiny

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["bn_unfolded", "dynamic_batch", "tokens"])
    parser.add_argument("--psi", default="reference")
    parser.add_argument("--all-emits", action="store_true")
    parser.add_argument("--most", type=int, help="of each kind and model, drawn by chance")
    given = parser.parse_args()
    every = {**tiny.all_models(), **tasks.all_models()}
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    options = {"emit": EMITS} if given.all_emits else {}
    for name in given.models:
        source = every[name]
        original = instrument(source, psi=given.psi, **options).model
        planted = list(mutants(original, source))
        for mutant in planted:
            counts[mutant.kind]["planted"] += 1
        for mutant in sampled(planted, given.most):
            found = outcome(mutant, source, original)
            counts[mutant.kind][found] += 1
            if found in ("missed", "equivalent"):
                print(f"{found}: {name}: {mutant.kind}: {mutant.where}", flush=True)
    columns = ("planted", "invalid", "caught", "equivalent", "missed")
    print(f"| kind | {' | '.join(columns)} |")
    print(f"|{'---|' * (1 + len(columns))}")
    total = sum(counts.values(), collections.Counter())
    for kind, each in [*sorted(counts.items()), ("all", total)]:
        print(f"| {kind} | {' | '.join(str(each[column]) for column in columns)} |")


if __name__ == "__main__":
    main()
