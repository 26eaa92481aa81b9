"""What every VJP rule is tested with: a table of one-node models.

`exact` cases are polynomials of degree 2 or less in all their active operands together, `curved`
ones are not (harness.py says what follows for the step and the tolerance). The values of live
operands stay off the kinks; what happens at a kink is the matter of test_kinks.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .harness import NEWEST, Case, Fed, Live, Operand

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)


def exact(op_type: str, *operands: Operand, note: str = "", **settings: Any) -> Case:
    """A case of degree 2 or less; settings that `Case` has not are attributes of the node."""
    return _case(op_type, operands, note, settings, exact=True)


def curved(op_type: str, *operands: Operand, note: str = "", **settings: Any) -> Case:
    """Any other case."""
    return _case(op_type, operands, note, settings, exact=False)


_SETTINGS = ("opset", "outputs", "used", "pointwise", "runtime")


def _case(
    op_type: str, operands: tuple[Operand, ...], note: str, settings: dict[str, Any], *, exact: bool
) -> Case:
    own = {name: settings.pop(name) for name in _SETTINGS if name in settings}
    return Case(op_type, operands, settings, note, exact=exact, **own)


def live(*shape: int, **how: Any) -> Live:
    return Live(shape, **how)


def positive(*shape: int) -> Live:
    return Live(shape, low=0.5, high=2.0)


def distinct(*shape: int, **how: Any) -> Live:
    return Live(shape, values="distinct", **how)


def whole(shift: float, *shape: int) -> Live:
    """Operands with different fractional parts are nowhere near a tie."""
    return Live(shape, low=-3, high=3, values="whole", shift=shift)


def weight(*shape: int) -> np.ndarray:
    """Multiples of 1/8 between -1 and 1, none 0, the same for the same shape."""
    generator = np.random.default_rng(shape)
    return generator.choice([-1, 1], shape) * generator.integers(1, 8, shape, endpoint=True) / 8.0


# --- activations ---------------------------------------------------------------------------------

unary = partial(curved, pointwise=True)
_both = live(2, 5, kinks=(0.0,))
_wide = live(2, 8, low=-6.0, high=6.0, kinks=(-3.0, 0.0, 3.0))

ACTIVATIONS = [
    unary("Relu", _both),
    unary("Relu", _both, opset=NEWEST),
    unary("LeakyRelu", _both, note="default"),
    unary("LeakyRelu", _both, note="alpha", alpha=0.25),
    unary("PRelu", live(2, 3, 4, kinks=(0.0,)), weight(3, 1), note="channel"),
    unary("PRelu", live(2, 3, kinks=(0.0,)), np.float64(0.2), note="scalar"),
    unary("PRelu", live(2, 3, kinks=(0.0,)), Fed(weight(1, 3)), note="run-time-slope"),
    unary("Elu", _both, note="default"),
    unary("Elu", _both, note="alpha", alpha=0.5),
    unary("Selu", _both, note="default"),
    unary("Selu", _both, note="attributes", alpha=1.5, gamma=0.75),
    unary("Celu", _both, note="default"),
    unary("Celu", _both, note="alpha", alpha=2.0),
    unary("ThresholdedRelu", live(2, 8, kinks=(1.0,)), note="default"),
    unary("ThresholdedRelu", live(2, 8, kinks=(0.5,)), note="alpha", alpha=0.5),
    unary("ThresholdedRelu", live(2, 8, kinks=(-0.5,)), note="negative-alpha", alpha=-0.5),
    unary("Sigmoid", _wide),
    unary("Tanh", _wide),
    unary("Softplus", _wide),
    unary("Softsign", _wide),
    unary("HardSigmoid", live(2, 8, low=-6, high=6, kinks=(-2.5, 2.5)), note="default"),
    unary("HardSigmoid", _wide, note="torch", alpha=1 / 6, beta=0.5),
    unary("HardSwish", _wide),
    unary("HardSwish", _wide, opset=NEWEST),
    unary("Swish", _wide, note="default", opset=24),
    unary("Swish", _wide, note="alpha", opset=NEWEST, alpha=1.75, runtime=False),
    unary("Gelu", _wide, note="erf", opset=20),
    unary("Gelu", _wide, note="tanh", opset=NEWEST, approximate="tanh"),
    unary("Mish", _wide, opset=18),
    unary("Mish", _wide, opset=NEWEST),
    unary("Clip", live(2, 8, kinks=(-1.0, 0.5)), np.float64(-1.0), np.float64(0.5)),
    unary("Clip", live(2, 8, kinks=(-0.5,)), np.float64(-0.5), note="low-only"),
    unary("Clip", live(2, 8, kinks=(0.5,)), None, np.float64(0.5), note="high-only"),
    unary("Clip", live(2, 8), note="unbounded"),
    unary("Clip", live(2, 8, kinks=(0.5,)), None, Fed(np.float64(0.5)), note="run-time-bound"),
]

# --- arithmetic ----------------------------------------------------------------------------------


def _broadcasts(op_type: str, sample: Any, a: Any) -> list[Case]:
    """Two active operands, and either of them constant, in every way to broadcast."""
    make = curved if op_type == "Div" else exact
    return [
        make(op_type, a(2, 3, 4), sample(2, 3, 4), note="same-shapes", pointwise=True),
        make(op_type, a(2, 3, 4), sample(3, 1), note="second-broadcast"),
        make(op_type, a(1, 4), sample(2, 3, 4), note="first-broadcast"),
        make(op_type, a(2, 1, 4), sample(3, 1), note="both-broadcast"),
        make(op_type, a(2, 3), sample(), note="scalar", opset=NEWEST),
        make(op_type, a(2, 3), weight(3), note="constant-second", pointwise=True),
        make(op_type, a(2, 3), 0.75, note="constant-number", pointwise=True),
        make(op_type, weight(2, 1, 4), sample(3, 1), note="constant-first"),
        make(op_type, weight(4), sample(2, 3, 4), note="constant-first-row", pointwise=True),
        make(op_type, a(2, 3), Fed(weight(2, 3)), note="run-time-second", pointwise=True),
        make(
            op_type,
            replace(a(2, 3, 4), dims=("N", 3, 4)),
            replace(sample(2, 1, 4), dims=("N", 1, 4)),
            note="symbolic-batch",
        ),
    ]


def _extremes(op_type: str) -> list[Case]:
    clear = np.array([1.6, -1.6, 0.6, -0.6])  # each wins somewhere
    return [
        curved(op_type, whole(0.0, 2, 3), whole(0.5, 2, 3), note="two", pointwise=True),
        curved(op_type, whole(0.0, 2, 3), note="one", pointwise=True),
        curved(op_type, whole(0.0, 2, 1, 4), whole(0.3, 3, 1), whole(0.6, 4), note="three"),
        curved(op_type, whole(0.25, 2, 6), np.float64(0.5), note="constant", pointwise=True),
        curved(op_type, weight(6), whole(0.2, 2, 6), note="constant-first", pointwise=True),
        curved(op_type, whole(0.0, 2, 1, 4), whole(0.3, 3, 1), clear, note="and-constant"),
    ]


_condition = np.array([[True, False, True], [False, False, True]])

ARITHMETIC = [
    exact("Neg", live(2, 3), pointwise=True),
    unary("Abs", _both),
    unary("Exp", live(2, 5)),
    unary("Log", positive(2, 5)),
    unary("Sqrt", positive(2, 5)),
    unary("Reciprocal", live(2, 5, kinks=(0.0,), low=-3.0, high=-0.5)),
    unary("Sin", live(2, 5)),
    unary("Cos", live(2, 5)),
    unary("Erf", live(2, 5)),
    *_broadcasts("Add", live, live),
    *_broadcasts("Sub", live, live),
    *_broadcasts("Mul", live, live),
    *_broadcasts("Div", positive, live),
    unary("Pow", live(2, 5), np.float64(2.0), note="square"),
    unary("Pow", live(2, 5), np.float64(3.0), note="cube"),
    unary("Pow", live(2, 5), np.float64(1.0), note="one"),
    unary("Pow", positive(2, 5), np.float64(0.5), note="root"),
    unary("Pow", positive(2, 3), weight(3), note="row-of-exponents"),
    unary("Pow", live(2, 5), np.array(2, np.int64), note="integer-exponent"),
    curved("Pow", positive(2, 1), weight(3), note="base-broadcast"),
    exact("Sum", live(2, 3), note="one"),
    exact("Sum", live(2, 3), live(2, 3), live(2, 3), note="three", pointwise=True),
    exact("Sum", live(2, 1, 4), live(3, 1), live(), note="broadcast"),
    exact("Sum", live(2, 3), weight(2, 3), live(2, 3), note="constant", pointwise=True),
    exact("Mean", live(2, 3), live(2, 3), live(2, 3), note="three", pointwise=True),
    exact("Mean", live(2, 1, 4), live(3, 1), note="broadcast"),
    exact("Mean", live(2, 3), weight(3), note="constant", pointwise=True),
    *_extremes("Max"),
    *_extremes("Min"),
    exact("Where", _condition, live(2, 3), live(2, 3), note="both", pointwise=True),
    exact("Where", _condition, live(2, 3), weight(3), note="first", pointwise=True),
    exact("Where", _condition, 0.5, live(2, 3), note="second", pointwise=True),
    exact("Where", Fed(_condition), live(1, 3), live(), note="broadcast", opset=NEWEST),
    exact("Where", _condition[:, :1], live(3), live(2, 1), note="condition-broadcast"),
]

# --- convolution ---------------------------------------------------------------------------------


def conv(note: str, x: tuple[int, ...], *w: int, bias: bool = True, **attrs: Any) -> list[Case]:
    operands = [weight(*w), *([weight(w[0])] if bias else [])]
    return [exact("Conv", live(*x), *operands, note=note, **attrs)]


_symbolic = Live((2, 2, 5, 5), dims=("N", 2, 5, 5))

CONVOLUTION = [
    *conv("1-D", (2, 3, 8), 4, 3, 3),
    *conv("1-D-stride", (2, 3, 9), 4, 3, 4, strides=[3], pads=[2, 1]),
    *conv("2-D", (2, 3, 5, 6), 4, 3, 3, 2),
    *conv("2-D-newest", (2, 3, 5, 6), 4, 3, 3, 2, opset=NEWEST, pads=[1, 0, 1, 1]),
    *conv("3-D", (1, 2, 4, 3, 5), 2, 2, 2, 3, 2, pads=[1, 1, 0, 0, 1, 1]),
    *conv("3-D-stride", (1, 2, 5, 4, 5), 2, 2, 3, 2, 2, strides=[2, 1, 2]),
    *conv("no-bias", (2, 3, 5, 5), 4, 3, 3, 3, bias=False, pads=[1, 1, 1, 1]),
    *conv("pointwise", (2, 3, 4, 4), 5, 3, 1, 1),
    *conv("pointwise-stride", (2, 3, 5, 4), 5, 3, 1, 1, strides=[2, 2]),
    *conv("one-of-two-axes", (2, 3, 4, 6), 4, 3, 1, 3),
    *conv("stride", (1, 2, 7, 7), 3, 2, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    *conv("stride-with-rest", (1, 2, 8, 9), 3, 2, 3, 3, strides=[2, 3]),
    *conv("stride-beyond-kernel", (1, 2, 9, 10), 3, 2, 2, 2, strides=[3, 4]),
    *conv("kernel-beyond-rest", (1, 2, 10, 9), 3, 2, 5, 5, strides=[4, 4], pads=[1, 2, 1, 2]),
    *conv("one-axis-stride", (1, 2, 6, 6), 3, 2, 3, 3, strides=[1, 2], pads=[1, 1, 1, 1]),
    *conv("dilations", (1, 2, 9, 8), 3, 2, 3, 3, dilations=[2, 3], pads=[2, 3, 2, 3]),
    *conv("dilations-stride", (1, 2, 10, 9), 3, 2, 3, 2, dilations=[2, 3], strides=[2, 2]),
    *conv("groups", (1, 6, 5, 5), 4, 3, 3, 3, group=2, pads=[1, 1, 1, 1]),
    *conv("many-groups", (2, 6, 4, 4), 9, 2, 3, 3, group=3),
    exact(
        "Conv",
        live(1, 6, 7, 7),
        weight(4, 3, 3, 3),
        weight(4),
        note="groups-stride",
        group=2,
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    *conv("depthwise", (2, 3, 5, 5), 3, 1, 3, 3, group=3, pads=[1, 1, 1, 1]),
    *conv("multiplier", (2, 3, 5, 5), 6, 1, 3, 3, group=3, pads=[1, 1, 1, 1]),
    *conv("depthwise-stride", (2, 3, 6, 7), 3, 1, 3, 3, group=3, strides=[2, 2], pads=[1] * 4),
    exact(
        "Conv",
        live(1, 3, 7, 7),
        weight(6, 1, 3, 3),
        note="multiplier-stride",
        group=3,
        strides=[2, 2],
    ),
    *conv("uneven-pads", (1, 2, 5, 6), 3, 2, 3, 4, pads=[0, 2, 2, 1]),
    *conv("uneven-pads-stride", (1, 2, 6, 7), 3, 2, 3, 4, pads=[0, 2, 1, 0], strides=[2, 3]),
    *conv("pads-beyond-kernel", (1, 2, 4, 5), 3, 2, 2, 2, pads=[3, 2, 2, 4]),
    *conv("pads-beyond-kernel-even", (1, 2, 4, 5), 3, 2, 2, 2, pads=[3, 2, 3, 2]),
    *conv("pads-beyond-pointwise", (1, 2, 3, 3), 3, 2, 1, 1, pads=[1, 1, 1, 1]),
    *conv("same-upper", (1, 2, 5, 6), 3, 2, 2, 4, auto_pad="SAME_UPPER"),
    *conv("same-lower", (1, 2, 5, 6), 3, 2, 2, 4, auto_pad="SAME_LOWER"),
    *conv("same-upper-stride", (1, 2, 6, 7), 3, 2, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    *conv("same-lower-stride", (1, 2, 6, 7), 3, 2, 3, 3, auto_pad="SAME_LOWER", strides=[2, 2]),
    *conv("same-stride-beyond", (1, 2, 7, 7), 3, 2, 2, 2, auto_pad="SAME_UPPER", strides=[3, 3]),
    *conv("valid", (1, 2, 5, 6), 3, 2, 3, 3, auto_pad="VALID", strides=[1, 2]),
    *conv("kernel-shape-given", (1, 2, 5, 5), 3, 2, 3, 3, kernel_shape=[3, 3]),
    exact("Conv", _symbolic, weight(3, 2, 3, 3), weight(3), note="symbolic-batch", strides=[2, 2]),
    exact(
        "Conv",
        Live((1, 2, 6, 7), dims=("N", 2, "H", "W")),
        weight(3, 2, 3, 3),
        weight(3),
        note="symbolic-sizes",
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    exact("Conv", live(1, 2, 5, 5), Fed(weight(3, 2, 3, 3)), Fed(weight(3)), note="run-time"),
]


def deconv(note: str, x: tuple[int, ...], *w: int, bias: int = 0, **attrs: Any) -> list[Case]:
    operands = [weight(*w), *([weight(bias)] if bias else [])]
    return [exact("ConvTranspose", live(*x), *operands, note=note, **attrs)]


DECONVOLUTION = [
    *deconv("1-D", (2, 3, 5), 3, 4, 3, bias=4, strides=[2]),
    *deconv("2-D", (2, 3, 4, 5), 3, 4, 3, 2, bias=4),
    *deconv("3-D", (1, 2, 3, 2, 3), 2, 2, 2, 3, 2, strides=[2, 1, 2]),
    *deconv("no-bias", (1, 3, 4, 4), 3, 2, 2, 2, strides=[2, 2]),
    *deconv("pads", (1, 3, 4, 4), 3, 2, 4, 4, bias=2, strides=[2, 2], pads=[1, 1, 1, 1]),
    *deconv("uneven-pads", (1, 3, 4, 4), 3, 2, 4, 3, strides=[2, 2], pads=[0, 1, 2, 0]),
    *deconv(
        "output-padding", (1, 3, 3, 4), 3, 2, 3, 3, bias=2,
        strides=[2, 3], pads=[1, 1, 1, 1], output_padding=[1, 2],
    ),
    *deconv("dilations", (1, 3, 4, 4), 3, 2, 3, 2, dilations=[2, 3], strides=[2, 1]),
    *deconv("newest", (1, 3, 4, 4), 3, 2, 3, 3, bias=2, opset=NEWEST, pads=[1, 1, 1, 1]),
    exact(
        "ConvTranspose",
        live(1, 6, 4, 4),
        weight(6, 2, 3, 3),
        weight(4),
        note="groups",
        group=2,
        strides=[2, 2],
    ),
    exact(
        "ConvTranspose",
        live(1, 3, 4, 4),
        weight(3, 1, 3, 3),
        note="depthwise",
        group=3,
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
]  # fmt: skip

# --- matrices ------------------------------------------------------------------------------------


def _gemms() -> list[Case]:
    """Both transpositions with A, B, or both active; C in every shape that broadcasts."""
    found = []
    for ta in (0, 1):
        for tb in (0, 1):
            a, b = ((3, 2), (2, 3))[1 - ta], ((3, 4), (4, 3))[tb]
            attrs = {"transA": ta, "transB": tb, "alpha": 0.75, "beta": -0.5}
            note = f"transA{ta}-transB{tb}"
            found += [
                exact("Gemm", live(*a), weight(*b), weight(4), note=f"{note}-A", **attrs),
                exact("Gemm", weight(*a), live(*b), weight(4), note=f"{note}-B", **attrs),
                exact("Gemm", live(*a), live(*b), note=f"{note}-A-B", **attrs),
            ]
    shapes = {"number": (), "row": (4,), "column": (2, 1), "single": (1, 1), "full": (2, 4)}
    for note, shape in shapes.items():
        found += [
            exact("Gemm", live(2, 3), weight(3, 4), weight(*shape), note=f"constant-C-{note}"),
            exact("Gemm", live(2, 3), weight(3, 4), live(*shape), note=f"live-C-{note}", beta=0.25),
        ]
    return found


MATRIX = [
    *_gemms(),
    exact("Gemm", live(2, 3), weight(4, 3), note="no-C", transB=1, opset=NEWEST),
    exact("Gemm", live(2, 3), live(3, 4), weight(4), note="A-B-and-constant-C"),
    exact("Gemm", live(2, 3), live(3, 4), live(4), note="all-live"),
    exact("Gemm", weight(2, 3), weight(3, 4), live(4), note="C-alone"),
    exact("Gemm", Live((2, 3), dims=("N", 3)), weight(4, 3), weight(4), note="N", transB=1),
    exact("MatMul", live(2, 3), weight(3, 4), note="constant-B"),
    exact("MatMul", weight(2, 3), live(3, 4), note="constant-A"),
    exact("MatMul", live(2, 3), live(3, 4), note="both"),
    exact("MatMul", live(2, 3, 4), weight(4, 5), note="stack-and-matrix"),
    exact("MatMul", live(2, 3, 4), live(4, 5), note="stack-and-live-matrix"),
    exact("MatMul", live(3, 4), live(2, 4, 5), note="matrix-and-stack"),
    exact("MatMul", live(2, 1, 3, 4), live(5, 4, 2), note="both-broadcast", opset=NEWEST),
    exact("MatMul", live(2, 3, 4), live(2, 4, 5), note="stacks"),
    exact("MatMul", live(1, 3, 4), live(2, 4, 5), note="stack-of-one"),
    exact(
        "MatMul",
        Live((2, 3, 4), dims=("N", 3, 4)),
        Live((2, 4, 3), dims=("N", 4, 3)),
        note="symbolic-batch",
    ),
]

# --- normalisation -------------------------------------------------------------------------------


def norm(*shape: int, note: str, **attrs: Any) -> Case:
    channels = weight(shape[1])
    parameters = (channels, channels / 2, channels[::-1].copy() * 3, np.abs(channels) + 0.5)
    return exact("BatchNormalization", live(*shape), *parameters, note=note, **attrs)


NORMALIZATION = [
    norm(2, 3, 4, 4, note="2-D"),
    norm(2, 3, note="no-positions"),
    norm(2, 3, 5, note="1-D", epsilon=0.125),
    norm(2, 3, 2, 3, 2, note="3-D", opset=NEWEST),
    exact(
        "BatchNormalization",
        Live((2, 3, 4, 4), dims=("N", 3, 4, 4)),
        *(Fed(weight(3)), Fed(weight(3) / 2), Fed(weight(3) * 2), Fed(weight(3) ** 2)),
        note="run-time-parameters",
    ),
    curved("Softmax", live(2, 5), note="default"),
    curved("Softmax", live(2, 3, 4), note="axis1", axis=1),
    curved("Softmax", live(2, 3, 4), note="axis-2", axis=-2, opset=NEWEST),
    curved("LogSoftmax", live(2, 5), note="default"),
    curved("LogSoftmax", live(2, 3, 4), note="axis1", axis=1),
    curved("LogSoftmax", live(2, 3, 4), note="axis-2", axis=-2, opset=NEWEST),
]

# --- pooling -------------------------------------------------------------------------------------


def mean_pool(note: str, *x: int, **attrs: Any) -> list[Case]:
    return [exact("AveragePool", live(*x), note=note, **attrs)]


def max_pool(note: str, *x: int, **attrs: Any) -> list[Case]:
    return [curved("MaxPool", distinct(*x), note=note, **attrs)]


def _pools(make: Any, ceil: int) -> list[Case]:
    """What the two pools have in common; ``ceil`` is the opset whose ceil_mode is defined well."""
    k2, k3, s2, p1 = [2, 2], [3, 3], [2, 2], [1, 1, 1, 1]
    return [
        *make("tiles", 2, 3, 4, 6, kernel_shape=k2, strides=s2),
        *make("tiles-with-rest", 2, 3, 5, 7, kernel_shape=k2, strides=s2),
        *make("overlap", 2, 2, 5, 5, kernel_shape=k3),
        *make("overlap-stride", 2, 2, 7, 7, kernel_shape=k3, strides=s2),
        *make("gaps", 1, 2, 8, 8, kernel_shape=k2, strides=[3, 3]),
        *make("pads", 1, 2, 6, 6, kernel_shape=k3, strides=s2, pads=p1),
        *make("uneven-pads", 1, 2, 5, 6, kernel_shape=k3, strides=s2, pads=[0, 1, 2, 0]),
        *make("uneven-kernel", 1, 2, 5, 6, kernel_shape=[1, 3], strides=[2, 1]),
        *make("ceil", 1, 2, 6, 7, kernel_shape=k3, strides=s2, ceil_mode=1, opset=ceil),
        *make("ceil-even", 1, 2, 5, 7, kernel_shape=k2, strides=s2, ceil_mode=1, opset=ceil),
        *make(
            "ceil-pads", 1, 2, 6, 6, kernel_shape=k3, strides=s2, pads=p1, ceil_mode=1, opset=ceil
        ),
        *make("same-upper", 1, 2, 5, 6, kernel_shape=k2, strides=[1, 2], auto_pad="SAME_UPPER"),
        *make("same-lower", 1, 2, 5, 6, kernel_shape=k2, strides=[1, 2], auto_pad="SAME_LOWER"),
        *make("valid", 1, 2, 5, 6, kernel_shape=k3, strides=s2, auto_pad="VALID"),
        *make("1-D", 2, 3, 7, kernel_shape=[3], strides=[2]),
        *make("3-D", 1, 2, 4, 3, 4, kernel_shape=[2, 2, 2], strides=[2, 1, 2]),
        *make("newest", 1, 2, 6, 6, kernel_shape=k3, strides=s2, pads=p1, opset=NEWEST),
    ]


POOLING = [
    *_pools(mean_pool, 19),
    *mean_pool(
        "count-pads", 1, 2, 6, 6,
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1,
    ),
    *mean_pool(
        "count-uneven-pads", 1, 2, 5, 6, kernel_shape=[3, 3], pads=[0, 1, 2, 0], count_include_pad=1
    ),
    *mean_pool(
        "count-ceil-pads", 1, 2, 6, 6, opset=19,
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1,
    ),
    *mean_pool("dilations", 1, 2, 7, 8, kernel_shape=[3, 2], dilations=[2, 3], opset=19),
    *mean_pool(
        "dilations-pads", 1, 2, 7, 8, opset=19,
        kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1], strides=[2, 1],
    ),
    exact(
        "AveragePool",
        Live((2, 2, 6, 6), dims=("N", 2, 6, 6)),
        note="symbolic-batch",
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    ),
    exact(
        "AveragePool",
        Live((2, 2, 6, 6), dims=("N", 2, "H", "W")),
        note="symbolic-sizes",
        kernel_shape=[3, 3],
    ),
    *_pools(max_pool, 17),
    *max_pool("dilations", 1, 2, 7, 8, kernel_shape=[3, 2], dilations=[2, 3]),
    *max_pool(
        "dilations-stride", 1, 2, 8, 8, kernel_shape=[2, 2], dilations=[3, 2], strides=[2, 2]
    ),
    curved(
        "MaxPool",
        distinct(1, 2, 6, 6, low=-9.0, high=-1.0),
        note="all-negative-in-pads",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    curved(
        "MaxPool",
        distinct(2, 2, 6, 6, dims=("N", 2, 6, 6)),
        note="symbolic-batch",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    exact(
        "AveragePool",
        Live((2, 2, 6, 6), dims=("N", 2, "H", "W")),
        note="symbolic-tiles",
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    exact("GlobalAveragePool", live(2, 3, 4, 5), note="2-D"),
    exact("GlobalAveragePool", Live((2, 3, 4, 5), dims=("N", 3, "H", "W")), note="symbolic-sizes"),
    exact("GlobalAveragePool", live(2, 3, 4), note="1-D", opset=NEWEST),
    exact("GlobalAveragePool", Live((2, 3, 2, 2, 3), dims=("N", 3, 2, 2, 3)), note="3-D-N"),
]  # fmt: skip

# --- reductions ----------------------------------------------------------------------------------


def _reductions(op_type: str, make: Any, operand: Any, axes_as_input: int) -> list[Case]:
    """Axes as attribute below an opset, as input from it on."""
    before = max(17, axes_as_input - 1)
    old = [] if axes_as_input <= 17 else [
        make(op_type, operand(2, 3, 4), note="axes-attribute", opset=before, axes=[1]),
        make(op_type, operand(2, 3, 4), note="negative", opset=before, axes=[-1, 0], keepdims=0),
        make(op_type, operand(2, 3), note="all", opset=before, keepdims=0),
    ]  # fmt: skip
    new = max(17, axes_as_input)
    return [
        *old,
        make(op_type, operand(2, 3, 4), [1], note="axes-input", opset=new),
        make(op_type, operand(2, 3, 4), [-1, 0], note="negative", opset=NEWEST, keepdims=0),
        make(op_type, operand(2, 3, 4), [-2], note="inner", opset=NEWEST, keepdims=0),
        make(op_type, operand(2, 3), note="all", opset=NEWEST),
        make(op_type, operand(2, 3), note="all-dropped", opset=new, keepdims=0),
        make(
            op_type,
            replace(operand(2, 3, 4), dims=("N", 3, 4)),
            [1, 2],
            note="symbolic-batch",
            opset=new,
            keepdims=0,
        ),
    ]


_unsized = Live((2, 3, 4, 5), dims=("N", "C", "H", "W"))

REDUCTION = [
    *_reductions("ReduceSum", exact, live, 13),
    *_reductions("ReduceMean", exact, live, 18),
    *_reductions("ReduceL2", curved, positive, 18),
    *_reductions("ReduceSumSquare", exact, live, 18),
    exact("ReduceMean", _unsized, [-1, 2], note="symbolic-sizes", keepdims=0, opset=18),
    exact("ReduceMean", _unsized, [1], note="symbolic-size", opset=NEWEST),
    exact("ReduceSum", _unsized, [-1, 2], note="symbolic-sizes", keepdims=0),
    exact("ReduceSum", live(2, 3), note="noop", noop_with_empty_axes=1),
    exact("ReduceMean", live(2, 3), note="noop", noop_with_empty_axes=1, opset=18),
]

# --- shaping -------------------------------------------------------------------------------------

_batch = Live((2, 3, 4), dims=("N", 3, 4))
_half = np.float64(0.5)


def _slice(note: str, starts: list[int], ends: list[int], *rest: Any, **settings: Any) -> Case:
    """Of an operand [2, 5, 6]."""
    return exact("Slice", live(2, 5, 6), starts, ends, *rest, note=note, **settings)


SHAPING = [
    exact("Identity", live(2, 3), pointwise=True),
    exact("Dropout", live(2, 3), note="one-output", pointwise=True),
    exact("Dropout", live(2, 3), np.float64(0.5), note="ratio", opset=NEWEST),
    exact("Dropout", live(2, 3), None, np.array(False), note="inference", outputs=2, used=(0,)),
    exact("Cast", live(2, 3, values="eighths"), note="same-type", to=11),
    exact("Cast", live(2, 3, values="eighths"), note="narrower", to=1),
    exact("Reshape", live(2, 3, 4), [2, 12], note="plain"),
    exact("Reshape", live(2, 3, 4), [0, -1], note="zero-and-rest"),
    exact("Reshape", live(2, 3, 4), [4, -1, 3], note="rest", opset=NEWEST),
    exact("Reshape", _batch, [0, -1], note="symbolic-batch"),
    exact("Reshape", _batch, [-1, 4], note="symbolic-rest"),
    exact("Reshape", _batch, Fed(np.array([2, 12])), note="run-time-shape"),
    exact(
        "Reshape",
        Live((2, 3, 4, 5), dims=("N", 3, "H", "W")),
        [0, 3, -1],
        note="symbolic-sizes",
    ),
    exact("Flatten", live(2, 3, 4), note="default"),
    exact("Flatten", live(2, 3, 4), note="axis0", axis=0),
    exact("Flatten", _batch, note="negative-axis", axis=-1, opset=NEWEST),
    exact("Squeeze", live(2, 1, 3, 1), note="all"),
    exact("Squeeze", live(2, 1, 3, 1), [-1], note="negative-axis"),
    exact("Squeeze", live(2, 1, 3, 1), [1, 3], note="two-axes", opset=NEWEST),
    exact("Unsqueeze", live(2, 3), [1], note="one"),
    exact("Unsqueeze", Live((2, 3), dims=("N", 3)), [-1, 0], note="negative", opset=NEWEST),
    exact("Transpose", live(2, 3, 4), note="default"),
    exact("Transpose", live(2, 3, 4), note="cycle", perm=[1, 2, 0]),
    exact("Transpose", live(2, 3, 2, 4), note="nhwc", perm=[0, 2, 3, 1], opset=NEWEST),
    exact("Expand", live(3, 1), [2, 3, 4], note="lead-and-inner"),
    exact("Expand", live(2, 3), [1, 1], note="nothing"),
    exact("Expand", live(2, 3), [3], note="shorter-shape"),
    exact("Expand", live(), [2, 3], note="scalar", opset=NEWEST),
    exact("Expand", Live((2, 1, 4), dims=("N", 1, 4)), [1, 3, 1], note="symbolic-batch"),
    exact("Concat", live(2, 3), live(2, 1), live(2, 4), note="three", axis=1),
    exact("Concat", live(2, 3, 4), live(2, 3, 2), note="negative-axis", axis=-1),
    exact("Concat", live(2, 3), weight(2, 2), note="constant-last", axis=1),
    exact("Concat", weight(2, 2), live(2, 3), weight(2, 1), note="constants", axis=-1),
    exact("Concat", live(2, 3), live(1, 3), note="batch", axis=0, opset=NEWEST),
    exact("Concat", _batch, _batch, note="symbolic-batch", axis=1),
    exact("Split", live(2, 6), note="even", outputs=3, axis=1),
    exact("Split", live(6, 2), [1, 2, 3], note="sizes", outputs=3),
    exact("Split", live(2, 7), [3, 4], note="negative-axis", outputs=2, axis=-1),
    exact("Split", live(2, 6), note="unused", outputs=3, axis=1, used=(0, 2)),
    exact("Split", live(2, 6), [1, 5], note="first-unused", outputs=2, axis=1, used=(1,)),
    exact("Split", live(2, 7), note="num-outputs", outputs=2, axis=1, num_outputs=2, opset=18),
    exact("Split", _batch, note="N", outputs=2, axis=2, num_outputs=2, opset=NEWEST, used=(1,)),
    _slice("axes-omitted", [0, 1], [2, 4]),
    _slice("one-axis", [1], [4], [1]),
    _slice("negative-axis", [1], [3], [-1]),
    _slice("several-axes", [1, 2], [4, 6], [1, 2]),
    _slice("axes-out-of-order", [2, 1], [6, 4], [2, 1], opset=NEWEST),
    _slice("negative-start-and-end", [-4], [-1], [2]),
    _slice("end-clamped", [2], [INT_MAX], [2]),
    _slice("end-clamped-far", [2], [2**63 - 1], [1]),
    _slice("start-clamped", [-100], [3], [1]),
    _slice("step", [0], [6], [2], [2]),
    _slice("step-with-rest", [1], [6], [2], [3]),
    _slice("step-beyond", [1], [5], [1], [7]),
    _slice("step-first-axis", [1], [2], [0], [2]),
    _slice("steps", [0, 1], [5, 6], [1, 2], [2, 2]),
    _slice("reversed", [-1], [INT_MIN], [2], [-1]),
    _slice("reversed-far", [INT_MAX], [-(2**63)], [1], [-1]),
    _slice("reversed-by-two", [4], [0], [1], [-2]),
    _slice("reversed-part", [-2], [-5], [2], [-1]),
    _slice("reversed-start-clamped", [100], [1], [2], [-3]),
    _slice("reversed-through-first", [3], [-7], [2], [-2]),
    _slice("reversed-both", [-1, -1], [INT_MIN, INT_MIN], [1, 2], [-2, -1], opset=NEWEST),
    exact("Slice", _batch, [1], [3], [2], [1], note="symbolic-batch"),
    exact("Slice", _batch, [0], [4], [2], [2], note="symbolic-batch-step"),
    exact("Gather", live(3, 4), np.array(1), note="scalar"),
    exact("Gather", live(3, 4), np.array(-1), note="negative-scalar", axis=1),
    exact("Gather", live(3, 4), [2, 0], note="row"),
    exact("Gather", live(2, 3, 4), [1, 1, 0, 1], note="duplicates", axis=1),
    exact("Gather", live(2, 3, 4), [-1, 0, -4], note="negative-indices", axis=-1),
    exact("Gather", live(2, 3, 4), np.array([1]), note="row-of-one", axis=1, opset=NEWEST),
    exact("Gather", _batch, np.array(2), note="symbolic-batch", axis=1),
    exact("Pad", live(2, 3), [0, 1, 2, 0], note="zeros"),
    exact("Pad", live(2, 3), [0, 1, 2, 0], _half, note="value"),
    exact("Pad", live(2, 3), [1, 0, 0, 2], np.float64(0.0), note="zero-value"),
    exact("Pad", live(4, 5), [-1, 0, 0, -2], note="negative"),
    exact("Pad", live(4, 5), [-1, 2, 1, -2], _half, note="negative-and-value"),
    exact("Pad", live(2, 3, 4), [1, 2], _half, [-1], note="axes", opset=18),
    exact("Pad", live(2, 3, 4), [1, 0, 2, 1], None, [2, 1], note="axes-no-value", opset=NEWEST),
    exact("Pad", Live((2, 3, 4), dims=("N", 3, 4)), [0, 0, 1, 0, 0, 1], _half, note="symbolic"),
]

CASES = [
    *ACTIVATIONS,
    *ARITHMETIC,
    *CONVOLUTION,
    *DECONVOLUTION,
    *MATRIX,
    *NORMALIZATION,
    *POOLING,
    *REDUCTION,
    *SHAPING,
]
