"""Convolution and its transpose.

In letters: n image, c input channel, m output channel, i output position, t kernel tap::

    y[n,m,i]  = sum_{c,t} w[m,c,t] x[n,c, s i + d t - pad]
    ct_x[n,c,j] = sum over all (m,i,t) with s i + d t - pad = j of w[m,c,t] ct[n,m,i]

With s = 1 the second line is again a convolution, of ct with the kernel flipped and its channel
axes swapped, which runtimes run faster than ConvTranspose.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.primal import Primal
from fg_onnx.vjps.table import Cotangents, Offset, vjp
from fg_onnx.vjps.windows import Window, window


def _bias(p: Primal) -> Offset | None:
    return Offset("bias", operand=2, axis=1) if p.input(2) is not None else None


def _check(p: Primal) -> None:
    if any(p.active[1:]):
        raise p.refusal("its weight or bias depends on the explained input")


def _kernel(p: Primal) -> list[int]:
    return p.sizes(p.inputs[1], range(2, len(p.shape(p.inputs[1]))))


@vjp("Conv", offset=_bias, axes="channels-first")
def conv(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct convolved with w flipped and transposed; for strides > 1, conv_transpose(ct, w)."""
    _check(p)
    w = window(p, _kernel(p))
    flipped_begin = [span - 1 - pad for span, pad in zip(w.spans, w.begin, strict=True)]
    flipped_end = [span - 1 - pad for span, pad in zip(w.spans, w.end, strict=True)]
    if set(w.strides) == {1} and min(*flipped_begin, *flipped_end) >= 0:
        ct_x = op.Conv(
            ct,
            _adjoint_weight(op, p, w),
            dilations=list(w.dilations),
            group=p.attrs["group"],
            kernel_shape=list(w.kernel),
            pads=[*flipped_begin, *flipped_end],
        )
    else:
        ct_x = scatter_windows(op, p, ct, p.inputs[1], w, p.attrs["group"])
    return (ct_x, *[None] * (len(p.inputs) - 1))


def _adjoint_weight(op: Emitter, p: Primal, w: Window) -> gs.Tensor:
    """The kernel flipped, its channel axes swapped within each group; folded at load."""
    weight, group = p.inputs[1], p.attrs["group"]
    m, c = p.sizes(weight, [0, 1])
    taps = list(range(2, 2 + w.rank))
    if group == 1:
        swapped = op.Transpose(weight, perm=[1, 0, *taps])
    elif c == 1 and m == group:  # depthwise: nothing to swap
        swapped = weight
    else:
        apart = op.Reshape(weight, [group, m // group, c, *w.kernel])
        turned = op.Transpose(apart, perm=[0, 2, 1, *(axis + 1 for axis in taps)])
        swapped = op.Reshape(turned, [group * c, m // group, *w.kernel])
    flipped = [axis for axis, k in zip(taps, w.kernel, strict=True) if k > 1]
    if not flipped:
        return swapped
    n = len(flipped)
    return op.Slice(swapped, [-1] * n, [-(2**31)] * n, flipped, [-1] * n)


def scatter_windows(
    op: Emitter, p: Primal, ct: gs.Tensor, weight: gs.Tensor, w: Window, group: int
) -> gs.Tensor:
    """Add ``weight * ct[i]`` into the window of every output position ``i`` of an array like x.

    A ConvTranspose. With equal padding on both sides its own ``pads`` and ``output_padding`` cut
    the result to size; otherwise (some devices take no uneven pads) it is cut by a Slice.
    """
    axes = list(range(2, 2 + w.rank))
    geometry = {
        "dilations": list(w.dilations),
        "group": group,
        "kernel_shape": list(w.kernel),
        "strides": list(w.strides),
    }
    shape = p.shape(p.x)
    static = all(isinstance(shape[axis], int) for axis in axes)
    rest = _rest(p, w, axes) if static and w.symmetric else None
    if rest is not None:
        return op.ConvTranspose(
            ct, weight, output_padding=rest, pads=[*w.begin, *w.end], **geometry
        )
    full = op.ConvTranspose(
        ct, weight, output_padding=[stride - 1 for stride in w.strides], **geometry
    )
    ends: gs.Tensor | list[int]
    if static:
        ends = [pad + size for pad, size in zip(w.begin, p.sizes(p.x, axes), strict=True)]
    else:
        sizes_now = op.Slice(op.Shape(p.x), [2], [2 + w.rank], [0])
        ends = op.Add(sizes_now, op.constant(w.begin, np.int64))
    return op.Slice(full, list(w.begin), ends, axes)


def _rest(p: Primal, w: Window, axes: list[int]) -> list[int] | None:
    """The positions that no window reaches, or None where windows reach beyond (ceil_mode)."""
    rest = [
        size + 2 * pad - span - (out - 1) * stride
        for size, out, pad, span, stride in zip(
            p.sizes(p.x, axes), p.sizes(p.y, axes), w.begin, w.spans, w.strides, strict=True
        )
    ]
    return rest if min(rest) >= 0 else None


@vjp("ConvTranspose", offset=_bias, axes="channels-first")
def conv_transpose(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct convolved with w, which cuts off what output_padding added."""
    _check(p)
    if p.attrs.get("auto_pad", "NOTSET") != "NOTSET" or p.attrs.get("output_shape"):
        raise p.refusal("auto_pad and output_shape have no rule yet")
    w = window(p, _kernel(p))
    more = p.attrs.get("output_padding") or [0] * w.rank
    # A Conv leaves out the last positions that no stride reaches, just what was padded on, as
    # long as that is less than a stride.
    if any(extra >= stride for extra, stride in zip(more, w.strides, strict=True)):
        raise p.refusal("its output_padding reaches a stride or more")
    ct_x = op.Conv(
        ct,
        p.inputs[1],
        dilations=list(w.dilations),
        group=p.attrs["group"],
        kernel_shape=list(w.kernel),
        pads=[*w.begin, *w.end],
        strides=list(w.strides),
    )
    return (ct_x, *[None] * (len(p.inputs) - 1))
