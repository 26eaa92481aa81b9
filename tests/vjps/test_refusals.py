"""What a rule cannot take, it refuses: naming the operator, the node and the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fg_onnx.errors import UnsupportedModelError

from .harness import Case, Fed, Live, Operand, emit_vjp

IMAGE = Live((1, 2, 5, 5))
IMAGE_PAIR = Live((2, 2, 5, 5))


def case(op_type: str, *operands: Operand, **attrs: Any) -> Case:
    settings = {"outputs": 1, "used": (0,), "opset": 17}
    settings |= {name: attrs.pop(name) for name in settings if name in attrs}
    return Case(op_type, operands, attrs, **settings)


ROWS, OWNERS = np.ones((1, 4)), np.array([0])

REFUSED = {
    "its bounds depend": case("Clip", Live((2, 3)), Live(())),
    "its weight or bias depends": case("Conv", IMAGE, Live((3, 2, 3, 3))),
    "its border wraps": case("Pad", Live((2, 3)), [0, 4, 0, 1], mode="wrap", opset=19),
    "its condition is computed": case("Compress", Live((2, 3)), Fed(np.array([True])), axis=0),
    "what it multiplies by": case(
        "ScatterND", Live((2, 3)), np.array([[1]]), Live((1, 3)), reduction="mul"
    ),
    "it takes a diagonal of `u0`": case("Einsum", Live((3, 3)), equation="ii->i"),
    "its operand `u1` is": case("CumProd", Live((2, 3)), Fed(np.array(1)), opset=26),
    "its operand `u1` is computed": case("Tile", Live((2, 3)), Fed(np.array([1, 2]))),
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
    "its scale or bias depends": case("LayerNormalization", Live((2, 3)), Live((3,))),
    "its Mean or InvStdDev leads": case(
        "LayerNormalization", Live((2, 3)), np.ones(3), outputs=3, used=(0, 1)
    ),
    "it mixes the images of a batch": case("MeanVarianceNormalization", IMAGE_PAIR, axes=[0, 2, 3]),
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
