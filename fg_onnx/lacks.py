"""What runtimes lack: operators, and forms of them, that they do not take or compute otherwise.

OpenVINO's were found by running it (tests/runtimes); TensorRT's are the operator matrix of its
importer, onnx-tensorrt 10.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper, numpy_helper

Constants = Mapping[str, onnx.TensorProto]
Condition = Callable[[onnx.NodeProto, Constants], bool]


@dataclass(frozen=True)
class Lack:
    """An operator that a runtime lacks, or computes otherwise than ONNX says.

    Attributes:
        op_type: the operator.
        reason: what is wrong.
        when: whether a node of it, among constants by name, asks for what is lacking; None: always.
    """

    op_type: str
    reason: str
    when: Condition | None = None

    def meets(self, node: onnx.NodeProto, constants: Constants) -> bool:
        """Whether a node asks for what is lacking."""
        return (
            node.op_type == self.op_type
            and not node.domain
            and (self.when is None or self.when(node, constants))
        )


# --- conditions -----------------------------------------------------------------------------------


def _has(name: str) -> Condition:
    return lambda node, _: name in _attributes(node)


def _is(name: str, *values: Any) -> Condition:
    return lambda node, _: _attributes(node).get(name) in values


def _dilated(node: onnx.NodeProto, _: Constants) -> bool:
    return any(step != 1 for step in _attributes(node).get("dilations", ()))


def _of_signals(node: onnx.NodeProto, _: Constants) -> bool:
    return len(_attributes(node)["kernel_shape"]) == 1


def _has_indices(node: onnx.NodeProto, _: Constants) -> bool:
    return len(node.output) > 1 and bool(node.output[1])


def _lopsided(node: onnx.NodeProto, _: Constants) -> bool:
    pads = _attributes(node).get("pads", [])
    half = len(pads) // 2
    return bool(pads[:half] != pads[half:])


def _computed(index: int) -> Condition:
    """An input is given, and is no constant."""
    return lambda node, constants: _given(node, index) not in ("", *constants)


def _shifted(node: onnx.NodeProto, constants: Constants) -> bool:
    """The zero point is another than 0, or not known."""
    name = _given(node, 2)
    return name != "" and (name not in constants or bool(_array(constants[name]).any()))


def _given(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _array(tensor: onnx.TensorProto) -> Any:
    return numpy_helper.to_array(tensor)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


# --- runtimes -------------------------------------------------------------------------------------

_RESIZE_MODES = (b"half_pixel_symmetric", b"tf_crop_and_resize")
_NO_RULE = "it has no conversion rule"

OPENVINO = (
    Lack("DeformConv", _NO_RULE),
    Lack("MaxUnpool", _NO_RULE),
    Lack("Pad", "mode `wrap` is not converted", _is("mode", b"wrap")),
    Lack(
        "Resize",
        "its coordinate_transformation_mode is not converted",
        _is("coordinate_transformation_mode", *_RESIZE_MODES),
    ),
    *(
        Lack(op_type, "axes as an attribute, before opset 18, are left aside", _has("axes"))
        for op_type in ("ReduceL1", "ReduceLogSum", "ReduceLogSumExp")
    ),
    *(
        Lack(op_type, "noop_with_empty_axes is left aside", _is("noop_with_empty_axes", 1))
        for op_type in ("ReduceL1", "ReduceL2", "ReduceLogSum")
    ),
    Lack("LpPool", "ceil_mode is computed otherwise", _is("ceil_mode", 1)),
    Lack("Resize", "antialias is left aside", _is("antialias", 1)),
    Lack(
        "Resize",
        "keep_aspect_ratio_policy is left aside",
        _is("keep_aspect_ratio_policy", b"not_larger", b"not_smaller"),
    ),
)

_UNKNOWN_TO_TENSORRT = (
    *("AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
    *("BlackmanWindow", "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger"),
    *("DFT", "Det", "DynamicQuantizeLinear", "HammingWindow", "HannWindow", "ImageDecoder"),
    *("MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial"),
    *("NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement"),
    *("QLinearConv", "QLinearMatMul", "RegexFullMatch", "STFT", "SequenceAt", "SequenceConstruct"),
    *("SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
    *("SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer"),
    *("StringSplit", "TfIdfVectorizer", "Unique"),
)
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
_NOT_COMPUTED = {
    **dict.fromkeys((*_REDUCTIONS, "CumSum", "OneHot", "Squeeze", "Unsqueeze"), 1),
    **dict.fromkeys(("Pad", "Slice"), 3),
}
"""The input that has to be a constant: axes, or the depth."""

TENSORRT = (
    *(Lack(op_type, "it is not taken") for op_type in _UNKNOWN_TO_TENSORRT),
    *(
        Lack(op_type, "axes, or a depth, have to be constants", _computed(index))
        for op_type, index in _NOT_COMPUTED.items()
    ),
    *(
        Lack(op_type, "dilations are not taken", _dilated)
        for op_type in ("AveragePool", "LpPool", "MaxPool")
    ),
    *(
        Lack(op_type, "signals, of one dimension, are not taken", _of_signals)
        for op_type in ("AveragePool", "MaxPool")
    ),
    Lack("MaxPool", "Indices are not taken", _has_indices),
    Lack("DeformConv", "pads that differ between the ends of an axis are not taken", _lopsided),
    *(
        Lack(op_type, "a zero point other than 0 is not taken", _shifted)
        for op_type in ("QuantizeLinear", "DequantizeLinear")
    ),
    Lack("ScatterND", "a reduction is not taken", _is("reduction", b"add", b"mul", b"max", b"min")),
    Lack("Resize", "mode `cubic` is not taken", _is("mode", b"cubic")),
    Lack(
        "Resize",
        "its coordinate_transformation_mode is not taken",
        _is("coordinate_transformation_mode", *_RESIZE_MODES),
    ),
    Lack("Resize", "antialias is not taken", _is("antialias", 1)),
    Lack(
        "Resize",
        "keep_aspect_ratio_policy is not taken",
        _is("keep_aspect_ratio_policy", b"not_larger", b"not_smaller"),
    ),
)
