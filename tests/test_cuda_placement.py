"""No emitted node falls back to the CPU under CUDA, as three runtimes' kernel tables tell."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import SAMPLES
from onnx import TensorProto, defs, helper
from placement import KERNELS, Copy, Placement, emitted, lacking, operand_types, types_of
from precision import in_type
from vjps.cases import CASES
from vjps.harness import emit_vjp

from fg_onnx import instrument
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import EMITS
from fg_onnx.source.model import opset_of
from sample_models import tasks

COMPLETE = (17, 18)
"""The opsets at which every emitted node has a kernel in every runtime."""
NEWER = (19, 20, 21, 22, 23)
OLD, MIDDLE, NEW = RUNTIMES = ("1.23.2", "1.26.0", "1.31.1")

_SHAPING = "Cast Flatten Identity Pad Reshape Shape Squeeze Transpose Unsqueeze"
LACKING = {
    OLD: {
        19: "Pad Resize",
        20: "AffineGrid ReduceMax ReduceMin",
        21: _SHAPING,
        22: "Conv ConvTranspose Cos HardSigmoid MaxPool Round Sin Softplus",
        23: _SHAPING,
    },
    MIDDLE: {
        20: "AffineGrid ReduceMax ReduceMin",
        22: "ConvTranspose Cos MaxPool Round Sin Softplus",
    },
    NEW: {20: "AffineGrid", 22: "MaxPool"},
}
"""Emitted operators that a runtime has no CUDA kernel for, by the version of their schema.

Each was changed in an opset that the runtime's kernel is not yet registered for, and no other form
does the same everywhere at no cost to the CPU. docs/devices.md says what to do about it.
"""
NEVER = {"AffineGrid"}
"""That no runtime has a kernel for at any version: only its own adjoint emits it."""


def listed(runtime: str) -> set[tuple[str, int]]:
    return {(o, since) for since, names in LACKING[runtime].items() for o in names.split()}


# --- the reader ----------------------------------------------------------------------------------

FIRST_MISSING = {
    OLD: {
        19: "Equal Resize Pad AveragePool",
        20: "ReduceMin ReduceMax ConstantOfShape GridSample",
        21: "Cast Shape Reshape Transpose Flatten Squeeze Unsqueeze Identity",
        22: "Conv ConvTranspose MaxPool GlobalAveragePool GlobalMaxPool InstanceNormalization "
        "HardSigmoid Softplus Elu Selu",
    },
    MIDDLE: {
        19: "Equal",
        20: "ReduceMin ReduceMax",
        22: "ConvTranspose MaxPool InstanceNormalization Softplus Elu Selu",
    },
    NEW: {22: "MaxPool InstanceNormalization Elu Selu ThresholdedRelu"},
}
"""The first opset at which a float32 kernel is missing, as it was found by other means."""
UNCHANGED = (
    "Add Sub Mul Div Neg Abs Sign Less Greater LessOrEqual GreaterOrEqual Where Not And Concat "
    "Slice Split Expand Tile Gather GatherElements ScatterElements ScatterND MatMul Gemm Einsum "
    "Sum ReduceSum ReduceMean ReduceL2 Exp Log Sqrt Pow Min Max Clip Relu LeakyRelu PRelu Sigmoid "
    "Tanh Erf Softmax ArgMax CumSum LRN BatchNormalization LayerNormalization DepthToSpace"
)


def _float_kernel(runtime: str, op_type: str, opset: int) -> bool:
    """Whether there is a kernel for float32, or for what the operator has in its place."""
    schema = defs.get_schema(op_type, opset)
    types = {}
    for constraint in schema.type_constraints:
        taken = constraint.allowed_type_strs
        kind = next(k for k in ("float", "int64", "bool") if f"tensor({k})" in taken)
        types[constraint.type_param_str] = kind
    return KERNELS.have(runtime, op_type, schema.since_version, types)


def test_the_runtimes() -> None:
    assert KERNELS.runtimes == RUNTIMES


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_reader_finds_what_is_known_to_be_missing(runtime: str) -> None:
    for first, op_types in FIRST_MISSING[runtime].items():
        for op_type in op_types.split():
            held = [_float_kernel(runtime, op_type, opset) for opset in range(17, first + 1)]
            assert held == [True] * (first - 17) + [False], op_type


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_reader_finds_what_is_known_to_be_there(runtime: str) -> None:
    for op_type in UNCHANGED.split():
        assert all(_float_kernel(runtime, op_type, opset) for opset in (18, 23)), op_type


def test_a_type_that_a_kernel_does_not_take_is_none() -> None:
    since = defs.get_schema("Where", 18).since_version
    assert KERNELS.have(NEW, "Where", since, {"B": "bool", "T": "int64"})
    assert not KERNELS.have(NEW, "Where", since, {"B": "bool", "T": "bool"})
    assert not KERNELS.have(NEW, "Where", since, {"B": "bool", "T": "undefined"})


# --- what is emitted -----------------------------------------------------------------------------

Form = tuple[str, tuple[tuple[str, str], ...]]
"""An operator, and the types of its operands and results by name."""


def _forms(model: onnx.ModelProto) -> set[Form]:
    opset, types = opset_of(model), types_of(model)
    return {
        (node.op_type, tuple(sorted(operand_types(node, opset, types).items())))
        for node in emitted(model)
    }


@cache
def _emitted() -> dict[int, set[Form]]:
    """All that rules and maps emit for float32 and float16, by the opset it was emitted at."""
    found = defaultdict(set)
    for case in CASES:
        for dtype in (np.float32, np.float16):
            model = emit_vjp(case, dtype=dtype).proto
            found[opset_of(model)] |= _forms(model)
    for name in ("residual", "nhwc", "batchnorm_preact"):
        for kind in (TensorProto.FLOAT, TensorProto.FLOAT16):
            source = in_type(SAMPLES[name].model, kind)
            for psi in STYLES:
                found[opset_of(source)] |= _forms(instrument(source, emit=EMITS, psi=psi).model)
    return found


def _without_kernel(forms: set[Form], opset: int, runtime: str) -> set[tuple[str, int]]:
    """The operators among forms that a runtime has no kernel for, with their schema's version."""
    found = set()
    for op_type, types in forms:
        since = defs.get_schema(op_type, opset).since_version
        if not KERNELS.have(runtime, op_type, since, dict(types)):
            found.add((op_type, since))
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("opset", COMPLETE)
def test_every_form_that_a_rule_emits_has_a_kernel(opset: int, runtime: str) -> None:
    assert _emitted()[opset]
    assert _without_kernel(_emitted()[opset], opset, runtime) == set()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_newer_opsets_lack_what_is_listed_and_nothing_else(runtime: str) -> None:
    """If it fails: emit another form, or list what is new above and in docs/devices.md."""
    found = set()
    for opset in NEWER:
        forms = set().union(*(_emitted()[o] for o in (*COMPLETE, opset)))
        found |= _without_kernel(forms, opset, runtime)
    assert found == listed(runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_lacking_was_there_before_its_schema_moved(runtime: str) -> None:
    for op_type, _ in listed(runtime):
        opsets = [o for o in (*COMPLETE, *NEWER) if defs.has(op_type, o)]
        known = [o for o in opsets if _float_kernel(runtime, op_type, o)]
        assert bool(known) == (op_type not in NEVER), op_type


def test_the_page_lists_the_same() -> None:
    page = (Path(__file__).parents[1] / "docs" / "devices.md").read_text()
    for runtime in RUNTIMES:
        for since, op_types in LACKING[runtime].items():
            names = ", ".join(f"`{op_type}`" for op_type in op_types.split())
            assert f"| {runtime} | {since} | {names} |" in page
    assert page.count("| 1.") == sum(len(rows) for rows in LACKING.values())


# --- whole models --------------------------------------------------------------------------------


def _require_complete(model: onnx.ModelProto) -> None:
    """Every emitted node has a kernel, and no tensor that one makes or reads is copied.

    But for what a bias that is added behind its convolution makes: the source's own nodes read it,
    and where one of them has no kernel it is copied in the source too.
    """
    ours = {node.name for node in emitted(model) if not node.name.startswith("fg/forward/")}
    assert ours
    for runtime in RUNTIMES:
        assert lacking(model, runtime) == {}
        copies = Placement(model, runtime).copies
        assert [copy for copy in copies if ours & {copy.source, copy.target}] == []


@pytest.mark.parametrize("opset", COMPLETE)
def test_small_samples_are_placed_completely(sample, opset) -> None:
    _require_complete(sample.instrument(emit=EMITS, opset=opset).model)


@pytest.mark.parametrize("options", [{}, {"seed": True}], ids=str)
@pytest.mark.parametrize("task", tasks.all_models())
def test_other_tasks_are_placed_completely(task, options) -> None:
    _require_complete(instrument(tasks.all_models()[task], emit=EMITS, **options).model)


# The Clip of old_opset takes its limits from attributes, which stay float32.
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "old_opset"])
def test_so_are_those_in_float16(name) -> None:
    source = in_type(SAMPLES[name].model, TensorProto.FLOAT16)
    _require_complete(instrument(source, emit=EMITS).model)


def test_so_are_exports(net) -> None:
    _require_complete(onnx.load(net.instrumented))


@pytest.mark.parametrize("opset", NEWER)
def test_small_samples_of_a_newer_opset_lack_what_is_listed(sample, opset) -> None:
    model = sample.instrument(emit=EMITS, opset=opset).model
    for runtime in RUNTIMES:
        assert lacking(model, runtime).keys() <= listed(runtime)


# --- by fault ------------------------------------------------------------------------------------


def _planted(nodes: str, opset: int, results: str = "float[N,3,a,b] y") -> onnx.ModelProto:
    """Nodes after an image, all of them named as emitted ones are."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": {opset}]>
        net (float[N,3,8,8] x) => ({results}) {{ {nodes} }}
    """)
    for node in model.graph.node:
        node.name = f"fg/{node.output[0]}"
    return model


@pytest.mark.parametrize(
    ("nodes", "opset", "lack"),
    [
        ("n = Abs (x) y = Sub (x, n)", 18, {}),
        ('y = Resize <mode = "nearest"> (x, , s)', 18, {}),
        ("y = MaxUnpool <kernel_shape = [2, 2]> (x, i)", 18, {"MaxUnpool": RUNTIMES}),
        ("y = ConvTranspose <pads = [0, 0, 1, 1]> (x, w)", 18, {"ConvTranspose": RUNTIMES}),
        ('y = ConvTranspose <auto_pad = "SAME_UPPER"> (x, w)', 18, {"ConvTranspose": RUNTIMES}),
        ("y = ConvTranspose <pads = [1, 1, 1, 1]> (x, w)", 18, {}),
        ("c = Less (x, x) y = Where (c, c, c)", 18, {"Where": RUNTIMES}),
        ("y = Equal (x, x)", 18, {}),
        ("y = Equal (x, x)", 19, {"Equal": (OLD, MIDDLE)}),
        ("y = Cast <to = 8> (x)", 18, {"Cast": RUNTIMES}),
        ("y = CumSum (c, i)", 18, {"CumSum": RUNTIMES}),
    ],
)
def test_a_node_without_a_kernel_is_found(nodes, opset, lack) -> None:
    model = _planted(nodes, opset, "y")
    more = {"s": [4], "w": [3, 3, 3, 3], "i": [1], "c": [4]}
    kinds = {"i": TensorProto.INT64, "c": TensorProto.BOOL}
    made = {name for node in model.graph.node for name in node.output}
    for name in {name for node in model.graph.node for name in node.input} & more.keys() - made:
        kind = kinds.get(name, TensorProto.FLOAT)
        model.graph.input.append(helper.make_tensor_value_info(name, kind, more[name]))
    found = {runtime: {op for op, _ in lacking(model, runtime)} for runtime in RUNTIMES}
    assert found == {
        runtime: {op for op, runtimes in lack.items() if runtime in runtimes}
        for runtime in RUNTIMES
    }


def test_a_node_of_unknown_types_is_taken_by_no_kernel() -> None:
    assert lacking(_planted("y = Abs (unknown)", 18, "y"), NEW).keys() == {("Abs", 13)}


def test_a_source_s_own_node_is_not_called_ours() -> None:
    model = _planted("s = Celu (x) y = Abs (s)", 18)
    model.graph.node[0].name = "celu"
    assert lacking(model, NEW) == {}
    placed = Placement(model, NEW)
    assert [node.name for node in placed.without_kernel] == ["celu"]
    assert placed.copies == [Copy("s", "celu", "fg/y", to_device=True)]


def test_sizes_are_computed_on_the_host_without_a_copy() -> None:
    """Resize reads sizes there, and they are made of Shape and constants alone."""
    placed = Placement(
        _planted(
            """
            zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> ()
            rest = Constant <value_ints = [3, 9, 9]> ()
            h = Relu (x)
            dims = Shape (h) batch = Slice (dims, zero, one, zero)
            sizes = Concat <axis = 0> (batch, rest) y = Resize (h, , , sizes)
            """,
            18,
        ),
        OLD,
    )
    assert placed.without_kernel == []
    assert [node.op_type for node in placed.preferred] == ["Slice", "Concat"]
    assert placed.copies == []


def test_a_size_that_is_computed_with_is_copied() -> None:
    placed = Placement(
        _planted("h = Relu (x) n = Size (h) count = Cast <to = 1> (n) y = Div (h, count)", 18), OLD
    )
    assert [node.op_type for node in placed.preferred] == ["Cast"]
    assert placed.copies == [Copy("count", "fg/count", "fg/y", to_device=True)]


def test_what_falls_back_is_copied_both_ways() -> None:
    placed = Placement(_planted("h = Relu (x) m = Celu (h) y = Abs (m)", 18), NEW)
    assert [copy.to_device for copy in placed.copies] == [False, True]
