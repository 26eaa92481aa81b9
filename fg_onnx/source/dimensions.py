"""Names for what a model leaves open of the shapes of its inputs and outputs.

Exporters write an unknown dimension as nothing, as -1, or as ``?``; Paddle calls height and width
both ``?``, which by the standard would make them equal. Here every one gets a name of its own, so
that two dimensions are equal only where their names are.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

Dimension = onnx.TensorShapeProto.Dimension

_NO_NAMES = frozenset({"", "?", "-1", "None"})


def name_dimensions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name for every open dimension of its inputs.

    It may be the model itself: not to be changed.
    """
    if not any(_is_open(dims, axis) for dims in _declared(proto) for axis in range(len(dims))):
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    taken = {dim.dim_param for dims in _declared(result) for dim in dims}
    for value in result.graph.input:
        dims = _dims(value)
        for axis in [axis for axis in range(len(dims)) if _is_open(dims, axis)]:
            name = f"{value.name}_{axis}"
            while name in taken:
                name += "_"
            taken.add(name)
            dims[axis].dim_param = name
    for values in (result.graph.output, result.graph.value_info):
        for value in values:
            for dim in _dims(value):
                if dim.dim_value < 0 or dim.dim_param in _NO_NAMES - {""}:
                    dim.Clear()
    return result


def _declared(proto: onnx.ModelProto) -> Iterator[list[Dimension]]:
    for values in (proto.graph.input, proto.graph.output, proto.graph.value_info):
        yield from (_dims(value) for value in values)


def _dims(value: onnx.ValueInfoProto) -> list[Dimension]:
    return list(value.type.tensor_type.shape.dim)


def _is_open(dims: list[Dimension], axis: int) -> bool:
    """Whether a dimension is neither a number nor named, or named as an earlier one is."""
    dim = dims[axis]
    if dim.HasField("dim_value"):
        return bool(dim.dim_value < 0)
    return dim.dim_param in _NO_NAMES or any(d.dim_param == dim.dim_param for d in dims[:axis])
