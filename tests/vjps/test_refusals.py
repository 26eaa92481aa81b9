"""What a rule cannot take, it refuses: naming the operator, the node and the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fg_onnx.errors import UnsupportedModelError

from .harness import Case, Fed, Live, Operand, emit_vjp

IMAGE = Live((1, 2, 5, 5))


def case(op_type: str, *operands: Operand, **attrs: Any) -> Case:
    outputs = attrs.pop("outputs", 1)
    return Case(op_type, operands, attrs, outputs=outputs, used=(0,), opset=attrs.pop("opset", 17))


ROWS, OWNERS = np.ones((1, 4)), np.array([0])

REFUSED = {
    "the slope depends": case("PRelu", Live((2, 3)), Live((3,))),
    "its bounds depend": case("Clip", Live((2, 3)), Live(())),
    "its exponent is computed": case("Pow", Live((2, 3)), Fed(np.ones(3))),
    "its weight or bias depends": case("Conv", IMAGE, Live((3, 2, 3, 3))),
    "its indices are computed": case("Gather", Live((2, 3)), Fed(np.array([0, 1]))),
    "its indices have more": case("Gather", Live((2, 3)), np.array([[0, 1]])),
    "its border wraps": case("Pad", Live((2, 3)), [0, 4, 0, 1], mode="wrap", opset=19),
    "an operand is a vector": case("MatMul", Live((2, 3)), np.ones(3)),
    "its operand `u1` is computed at run time": case(
        "Pad", Live((2, 3)), Fed(np.array([0, 1, 0, 1])), mode="edge"
    ),
    "its axis 2 the size 6, ONNX Runtime 7": case(
        "Resize", IMAGE, None, np.array([1, 1, 1.4, 1], np.float32)
    ),
    "`not_smaller` rounds its sizes up": case(
        "Resize",
        Live((1, 2, 5, 6)),
        None,
        None,
        [8, 8],
        opset=18,
        axes=[2, 3],
        keep_aspect_ratio_policy="not_smaller",
    ),
    "its axis 2 the size 11, ONNX Runtime 10": case(
        "ConvTranspose",
        IMAGE,
        np.ones((2, 1, 3, 3)),
        auto_pad="SAME_UPPER",
        strides=[2, 2],
        output_padding=[1, 1],
    ),
    "its axis 2 the size 4, ONNX Runtime 3": case(
        "AveragePool",
        Live((1, 2, 8, 6)),
        kernel_shape=[3, 3],
        strides=[3, 2],
        pads=[1, 0, 1, 0],
        ceil_mode=1,
        count_include_pad=1,
    ),
    "it needs static sizes": case(
        "ConvTranspose",
        Live((1, 2, 5, 5), dims=(1, 2, "H", 5)),
        np.ones((2, 1, 3, 3)),
        output_shape=[6, 6],
    ),
    "runtimes disagree on what its indices mean": case(
        "MaxUnpool",
        Live((1, 1, 2, 2)),
        np.array([[[[0, 3], [10, 14]]]]),
        np.array([1, 1, 5, 5]),
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    "mode `max` has no rule": case("RoiAlign", IMAGE, ROWS, OWNERS, mode="max", sampling_ratio=1),
    "with a sampling_ratio of 0": case("RoiAlign", IMAGE, ROWS, OWNERS),
    "its regions depend": case("RoiAlign", IMAGE, Live((1, 4)), OWNERS, sampling_ratio=2),
    "it is in training mode": case(
        "Dropout", Live((2, 3)), 0.5, np.array(True), opset=17, outputs=2
    ),
    "its parameters depend": case(
        "BatchNormalization", IMAGE, Live((2,)), np.ones(2), np.ones(2), np.ones(2)
    ),
}


@pytest.mark.parametrize(("reason", "refused"), REFUSED.items(), ids=REFUSED)
def test_refused(reason: str, refused: Case) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        emit_vjp(refused)
    assert f"`{refused.op_type}` at `node`" in caught.value.message
    assert reason in caught.value.message
