"""Convolution and its transpose.

In letters: n image, c input channel, m output channel, i output position, t kernel tap::

    y[n,m,i]  = sum_{c,t} w[m,c,t] x[n,c, s i + d t - pad]
    ct_x[n,c,j] = sum over all (m,i,t) with s i + d t - pad = j of w[m,c,t] ct[n,m,i]

With s = 1 the second line is again a convolution, of ct with the kernel flipped and its channel
axes swapped, which runtimes run faster than ConvTranspose, if not to the few channels of an image.
So they do with s > 1 and one channel a group, of ct with s - 1 zeros behind each entry; with more
channels a group the products with zeros cost what is gained.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import plus, require_size, size_of, vector
from fg_onnx.vjps.stretching import stretched
from fg_onnx.vjps.table import Cotangents, Offset, vjp
from fg_onnx.vjps.windows import Window, window

_FEW = 8
"""Channels to go back to, up to which ConvTranspose is faster: with 3 of them 4 to 6 times."""


def _bias(p: Primal) -> Offset | None:
    return Offset("bias", operand=2, axis=1) if p.input(2) is not None else None


def _check(p: Primal) -> None:
    if any(p.active[1:]):
        raise p.refusal("its weight or bias depends on the explained input")


def _kernel(p: Primal) -> list[int]:
    return p.sizes(p.inputs[1], range(2, len(p.shape(p.inputs[1]))))


@vjp("Conv", offset=_bias, axes="channels-first")
def conv(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct convolved with w flipped and transposed; with strides or few channels conv_transpose."""
    _check(p)
    w = window(op, p, _kernel(p))
    pads = w.adjoint_pads
    if _goes_to_few(p, w):
        pads = None
    elif pads is None and p.attrs["group"] == p.sizes(p.inputs[1], [0])[0] == p.shape(p.x)[1]:
        ct, pads = stretched(op, p, ct, w) or (ct, None)
    if pads is not None:
        ct_x = convolve_back(op, ct, _adjoint_weight(op, p, w), w, p.attrs["group"], pads)
    else:
        ct_x = scatter_windows(op, p, ct, p.inputs[1], w, p.attrs["group"])
    return (ct_x, *[None] * (len(p.inputs) - 1))


def _goes_to_few(p: Primal, w: Window) -> bool:
    """Whether ct goes to half of the channels, or less, that the CPU computes at once."""
    channels = p.shape(p.x)[1]
    return w.rank == 2 and p.attrs["group"] == 1 and isinstance(channels, int) and channels <= _FEW


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


def convolve_back(
    op: Emitter, ct: gs.Tensor, flipped: gs.Tensor, w: Window, group: int, pads: Sequence[int]
) -> gs.Tensor:
    """What ``scatter_windows`` adds up, as a Conv with the flipped kernel."""
    return op.Conv(
        ct,
        flipped,
        dilations=list(w.dilations),
        group=group,
        kernel_shape=list(w.kernel),
        pads=list(pads),
    )


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
    rest = _rest(p, w, axes) if w.symmetric else None
    if rest is not None:
        return op.ConvTranspose(ct, weight, output_padding=rest, pads=w.pads, **geometry)
    full = op.ConvTranspose(
        ct, weight, output_padding=[stride - 1 for stride in w.strides], **geometry
    )
    ends = [
        plus(op, begin, size_of(op, p, p.x, axis))
        for begin, axis in zip(w.begin, axes, strict=True)
    ]
    return op.Slice(full, vector(op, *w.begin), vector(op, *ends), axes)


def _rest(p: Primal, w: Window, axes: list[int]) -> list[int] | None:
    """The positions that no window reaches.

    None where windows reach beyond (ceil_mode), or where sizes are not known.
    """
    if set(w.strides) == {1}:
        return [0] * w.rank
    if not is_static([p.shape(p.x)[axis] for axis in axes]):
        return None
    rest = [
        size + 2 * pad - span - (out - 1) * stride
        for size, out, pad, span, stride in zip(
            p.sizes(p.x, axes), p.sizes(p.y, axes), w.pads or (), w.spans, w.strides, strict=False
        )
    ]
    return rest if min(rest) >= 0 else None


@vjp("ConvTranspose", offset=_bias, axes="channels-first")
def conv_transpose(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct convolved with w, which cuts off what output_padding added."""
    _check(p)
    w, surplus = _transposed_window(p)
    cut = [axis for axis, more in enumerate(surplus) if more]
    if cut:
        ct = op.Slice(ct, [0] * len(cut), [-surplus[i] for i in cut], [2 + i for i in cut])
    ct_x = op.Conv(
        ct,
        p.inputs[1],
        dilations=list(w.dilations),
        group=p.attrs["group"],
        kernel_shape=list(w.kernel),
        pads=w.pads,
        strides=list(w.strides),
    )
    return (ct_x, *[None] * (len(p.inputs) - 1))


def _transposed_window(p: Primal) -> tuple[Window, list[int]]:
    """The window that takes back what a ConvTranspose spread, and what no stride reached.

    Its last padding and the surplus are such that the Conv has as many positions as x: it leaves
    out by itself what is less than a stride.
    """
    kernel = _kernel(p)
    rank = len(kernel)
    strides = p.attrs.get("strides") or [1] * rank
    dilations = p.attrs.get("dilations") or [1] * rank
    begin, end, surplus = [], [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        before, after, more = _padding(p, axis, rank, s, d * (k - 1) + 1)
        if more >= s:
            after, more = max(after - more, 0), max(more - after, 0)
        else:
            more = 0
        begin.append(before)
        end.append(after)
        surplus.append(more)
    w = Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end))
    return w, surplus


def _padding(p: Primal, axis: int, rank: int, stride: int, span: int) -> tuple[int, int, int]:
    """What is cut off a ConvTranspose before and after, and what was added after."""
    more = (p.attrs.get("output_padding") or [0] * rank)[axis]
    pads = p.attrs.get("pads") or [0] * (2 * rank)
    auto, wanted = p.attrs.get("auto_pad", "NOTSET"), p.attrs.get("output_shape")
    if wanted:
        (size,) = p.sizes(p.x, [2 + axis])
        total = stride * (size - 1) + more + span - wanted[axis - rank]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        total = max(more + span - stride, 0)
        known = p.shape(p.x)[2 + axis]
        if isinstance(known, int):
            require_size(p, 2 + axis, stride * (known - 1) + more + span - total)
    elif auto == "VALID":
        total = 0
    else:
        return pads[axis], pads[rank + axis], more
    less = max(total, 0)
    small, large = less // 2, less - less // 2
    before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    return before, after, more + max(-total, 0)
