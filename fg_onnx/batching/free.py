"""A fixed batch made symbolic, where that is sound.

The batch is followed from the inputs through the graph. Each node must keep the images apart, with
the batch on one axis of what it makes; a size that is written into a Reshape, a Resize, an Expand
or a Slice is set free. Everything else is refused by name. The result is then run on several
batches at once and held against the source, which takes them one by one.
"""

from __future__ import annotations

import numpy as np
import onnx

from fg_onnx.batching import operators  # noqa: F401  fills the table of rules
from fg_onnx.batching.walk import Walk
from fg_onnx.errors import ModelError, UnsupportedModelError
from fg_onnx.graph import working
from fg_onnx.runtime import run_once
from fg_onnx.source import model

_BATCHES = 3  # of the source, that are stacked for the comparison
_TOLERANCE = 1e-4  # of the largest: float32, and the runtime's choice of kernels for a batch
_SYMBOL = "N"


def free_batch(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with a symbolic batch in the place of a fixed one; itself where it has none.

    The first axis of every input that has to be fed is taken for the batch.

    Raises:
        UnsupportedModelError: the inputs have no common batch, or a node does not keep the images
            of a batch apart, or cannot be shown to.
        ModelError: the model does not run, or not alike on a larger batch.
    """
    defaults = model.defaults_of(proto)
    fed = [value for value in proto.graph.input if value.name not in defaults]
    first = {value.name: _first_size(value) for value in fed}
    sizes = set(first.values())
    if not any(sizes):
        return proto
    if len(sizes) > 1:
        shown = ", ".join(f"{size or 'open'} for `{key}`" for key, size in first.items())
        raise UnsupportedModelError(
            "fixed-batch",
            f"the inputs of `{name}` have no common batch: their first axes are {shown}",
            "export the model with a dynamic batch",
        )
    graph = working.to_graph(proto)
    walk = Walk(graph, model.opset_of(proto), sizes.pop(), list(first))
    walk.follow()
    result = _declared(proto, walk)
    _require_alike(proto, result, name, walk)
    return result


def _first_size(value: onnx.ValueInfoProto) -> int:
    """The size of the first axis, 0 where it is open or there is none."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def _declared(proto: onnx.ModelProto, walk: Walk) -> onnx.ModelProto:
    """The graph that was walked as a model, with the symbol wherever the batch lies."""
    like = onnx.ModelProto()
    like.CopyFrom(proto)
    values = [*like.graph.input, *like.graph.output]
    symbol = _SYMBOL
    while any(d.dim_param == symbol for v in values for d in v.type.tensor_type.shape.dim):
        symbol += "_"
    tensors = walk.graph.tensors()
    for name, axis in walk.axes.items():
        shape = tensors[name].shape
        if shape is not None:
            tensors[name].shape = [symbol if i == axis else dim for i, dim in enumerate(shape)]
    for value in values:
        dims = value.type.tensor_type.shape.dim
        if value.name in walk.axes and dims:
            dims[walk.axes[value.name]].dim_param = symbol
    return working.to_proto(walk.graph, like, len(proto.graph.output))


def _require_alike(proto: onnx.ModelProto, freed: onnx.ModelProto, name: str, walk: Walk) -> None:
    """Run several batches at once, and one by one in the source."""
    feeds = [model.noise(proto, seed) for seed in range(_BATCHES)]
    alone = [run_once(proto, feed) for feed in feeds]
    stacked = {
        key: np.concatenate([feed[key] for feed in feeds]) if key in walk.axes else feeds[0][key]
        for key in feeds[0]
    }
    for index, found in enumerate(run_once(freed, stacked)):
        output = proto.graph.output[index].name
        parts = [results[index] for results in alone]
        axis = walk.axes.get(output)
        wanted = parts[0] if axis is None else np.concatenate(parts, axis)
        scale = float(np.max(np.abs(wanted.astype(np.float64)), initial=1e-30))
        if found.shape != wanted.shape or not np.allclose(
            found.astype(np.float64), wanted.astype(np.float64), rtol=0, atol=_TOLERANCE * scale
        ):
            raise ModelError(
                "fixed-batch",
                f"`{name}` does not compute `{output}` alike for a larger batch",
                "export the model with a dynamic batch",
            )
