"""What both models are fed: the images that were given, or noise, and their further inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx.errors import InputError
from fg_onnx.verification.graphs import Graph

Array = npt.NDArray[Any]
DRAWN = 6  # images of noise, by `_varied`
FEWER = 2  # where they are large
_STRENGTHS = {2: 0.1, 3: 4.0}  # of the third and fourth image
LARGE = 3 * 64 * 64  # entries
_AT_ONCE = 8  # images


def feeds_of(
    source: Graph,
    image: str,
    images: npt.ArrayLike | None,
    given: Mapping[str, npt.ArrayLike] | None,
    draws: np.random.Generator,
) -> list[dict[str, Array]]:
    """The inputs of every run: some images at a time, or as many as the batch is fixed to.

    Raises:
        InputError: an array does not fit, or sizes are open and nothing was given.
    """
    value = source.required.get(image)
    if value is None:
        raise InputError(
            "no-such-input",
            f"`{source.name}` has no input `{image}`, which the other model explains",
            "is it the source of the instrumented model?",
        )
    fixed = dims_of(value)[0]
    if images is None:
        array = _varied(value, draws, fixed if isinstance(fixed, int) else 1)
    else:
        array = _fitted(value, np.asarray(images))
    count = fixed if isinstance(fixed, int) else min(len(array), _AT_ONCE) or 1
    if (isinstance(fixed, int) and len(array) % fixed) or not len(array):
        raise InputError(
            "fixed-batch",
            f"`{image}` takes {count} images at a time, which {len(array)} do not fill",
            f"give a multiple of {count}",
        )
    rest: dict[str, Array] = {}
    for name, other in source.required.items():
        if name == image:
            continue
        if given and name in given:
            rest[name] = _fitted(other, np.asarray(given[name]))
        else:
            first = (dims_of(other) or [1])[0]  # of the images' number, or of its own
            own = first if isinstance(first, int) and first != fixed else len(array)
            rest[name] = noise(other, draws, batch=own)
    runs = []
    for start in range(0, len(array), count):
        part = slice(start, start + count)
        fed = {name: a[part] if _rows(a, len(array)) else a for name, a in rest.items()}
        runs.append({image: array[part], **fed})
    return runs


def _rows(array: Array, count: int) -> bool:
    return array.ndim > 0 and len(array) == count


def dims_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """The dimensions that an input declares, ``""`` where it says nothing of one."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(
        onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    )
    return found


def _fitted(value: onnx.ValueInfoProto, array: Array) -> Array:
    dims = dims_of(value)
    fits = array.ndim == len(dims) and all(
        not isinstance(dim, int) or dim == size
        for dim, size in zip(dims[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            "wrong-shape",
            f"`{value.name}` takes arrays of shape {dims}, not {list(array.shape)}",
            "give preprocessed images of that shape",
        )
    return array.astype(_dtype(value), copy=False)


def _varied(value: onnx.ValueInfoProto, draws: np.random.Generator, fixed: int) -> Array:
    """Noise in which different parts of a model take part, as many as fill whole batches.

    Plain noise, faint and strong noise, a single value and noise in blocks, where all ties are:
    equal neighbours under a pooling, and units that are all on or all off.
    """
    size = int(np.prod(_known(value.name, dims_of(value)[1:])))
    count = FEWER if size > LARGE else DRAWN
    count += -count % fixed
    found = noise(value, draws, batch=count)
    if found.dtype.kind in "iub":
        return found
    for i, kind in enumerate(found[1:], start=1):
        if i == count - 1:
            for axis, length in enumerate(kind.shape):
                if length > 4:
                    kind = np.take(kind, np.arange(length) // 4 * 4, axis=axis)
        elif i in _STRENGTHS:
            kind = (_STRENGTHS[i] * kind.astype(np.float64)).astype(found.dtype)
        elif i == 4:
            kind = np.full_like(kind, 0.25)
        found[i] = kind
    return found


def noise(value: onnx.ValueInfoProto, draws: np.random.Generator, *, batch: int) -> Array:
    """Something that an input takes: normal noise, pixels, or the first index.

    Raises:
        InputError: a size other than the batch is open.
    """
    first, *dims = dims_of(value) or [1]
    shape = [max(first, batch) if isinstance(first, int) else batch, *_known(value.name, dims)]
    shape = shape[: len(dims_of(value))]
    dtype = _dtype(value)
    if dtype.kind == "u" or (dtype.kind == "i" and len(shape) > 2):  # pixels
        return draws.integers(0, 127, shape, endpoint=True).astype(dtype)
    if dtype.kind in "ib":  # an index: the first is always there
        return np.zeros(shape, dtype)
    return draws.standard_normal(shape).astype(dtype)


def _known(name: str, dims: Sequence[int | str]) -> list[int]:
    sizes = [dim for dim in dims if isinstance(dim, int)]
    if len(sizes) < len(dims):
        raise InputError(
            "open-sizes",
            f"`{name}` leaves sizes open: {list(dims)}, so that nothing can be drawn for it",
            "give images, or --feed NAME=FILE, of the size wanted",
        )
    return sizes
