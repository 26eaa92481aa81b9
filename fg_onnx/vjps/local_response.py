"""Local response normalisation, along the channels.

``y = x s^-beta`` with ``s = bias + alpha / size W x^2``, W the sum over the window of a channel.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import Cotangents, implicit, vjp


def _term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = y - 2 beta y (s - bias) / s``."""
    squares = _squares(op, p)
    share = op.Div(squares, op.Add(squares, p.attrs["bias"]))
    return op.Mul(op.Mul(op.Mul(ct, p.y), share), 2 * p.attrs["beta"])


@vjp("LRN", offset=implicit, term=_term, axes="channels-first")
def local_response(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct s^-beta - 2 beta alpha / size x W^T(ct y / s), s = bias + alpha / size W x^2."""
    beta = p.attrs["beta"]
    s = op.Add(_squares(op, p), p.attrs["bias"])
    direct = op.Mul(ct, op.Pow(s, -beta))
    added = _over_windows(op, p, op.Div(op.Mul(ct, p.y), s), transposed=True)
    return (op.Sub(direct, op.Mul(op.Mul(p.x, added), 2 * beta)),)


def _squares(op: Emitter, p: Primal) -> gs.Tensor:
    return _over_windows(op, p, op.Mul(p.x, p.x), transposed=False)


def _over_windows(op: Emitter, p: Primal, tensor: gs.Tensor, *, transposed: bool) -> gs.Tensor:
    """alpha / size times the sum over each window of channels; a convolution of one channel."""
    size = p.attrs["size"]
    (channels,) = p.sizes(p.x, [1])
    before, after = (size - 1) // 2, size // 2
    if transposed:
        before, after = after, before
    weight = np.full((1, 1, size, 1), p.attrs["alpha"] / size, dtype=p.x.dtype)
    sums = op.Conv(
        op.Reshape(tensor, [0, 1, channels, -1]),
        op.constant(weight),
        kernel_shape=[size, 1],
        pads=[before, 0, after, 0],
    )
    return op.reshape_like(sums, p.x)
