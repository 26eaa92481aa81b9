"""Tensors inside a model, to be read and to be explained by, and the axes of its input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.forward import forward_part
from fg_onnx.instrumentation import Instrumented
from fg_onnx.manifest import Manifest


def showing(instrumented: Instrumented, names: Sequence[str]) -> Instrumented:
    """The same model with some of its tensors among its outputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(instrumented.model)
    shown = {value.name for value in proto.graph.output}
    for name in dict.fromkeys(names):
        if name not in shown:
            proto.graph.output.add(name=name)  # the runtime infers its type
    return Instrumented(proto, instrumented.manifest)


def behind(
    proto: onnx.ModelProto, tensor: onnx.ValueInfoProto, output: onnx.ValueInfoProto
) -> onnx.ModelProto:
    """The part of a model from one of its tensors, which becomes an input, to another.

    Where a way to the output goes past the tensor, the model's own inputs stay too.
    """
    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    for node in cut.graph.node:
        for slot, name in enumerate(node.output):
            if name == tensor.name:
                node.output[slot] = f"{name}/computed"
    cut.graph.input.append(tensor)
    if output.name not in {value.name for value in cut.graph.output}:
        cut.graph.output.append(output)
    return forward_part(cut, output.name)


def declared(tensor: gs.Tensor) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, kind, tensor.shape)


def channel_of(held: Manifest) -> int:
    """The axis of the channels in the input that images are fed to.

    Raises:
        UnsupportedModelError: it has no grid.
    """
    if held.layout is None:
        raise UnsupportedModelError(
            "no-grid",
            f"the input `{held.fed}` has no spatial grid",
            "name the image among the model's inputs",
        )
    return held.layout.index("c")
