"""Local functions, put in the place of the nodes that call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import inliner, shape_inference

from fg_onnx.errors import ModelError, first_line
from fg_onnx.source.model import Source, opset_of, require_equal

Functions = Mapping[tuple[str, str, str], onnx.FunctionProto]


def inline_functions(source: Source) -> onnx.ModelProto:
    """An equal model without local functions.

    It may be the source's own proto: not to be changed.

    Raises:
        ModelError: a function is of another opset than the model, and cannot be brought to it.
    """
    if not source.proto.functions:
        return source.proto
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        _write_out_defaults(nodes, functions)
    inlined = inliner.inline_local_functions(proto)
    if not inlined.functions:
        return inlined
    try:
        typed = shape_inference.infer_shapes(proto)  # which the conversion looks for
        converted = inliner.inline_local_functions(typed, convert_version=True)
    except Exception as error:  # the converter raises RuntimeError and ValueError of its own
        raise ModelError(
            "functions",
            f"the function `{inlined.functions[0].name}` of `{source.name}` cannot be brought to "
            f"the model's opset {opset_of(proto)}: {first_line(error)}",
            "export the model again, with one opset for all of it",
        ) from error
    require_equal(proto, converted, f"inlining the functions of `{source.name}`")
    return converted


def _write_out_defaults(nodes: Iterable[onnx.NodeProto], functions: Functions) -> None:
    """Give each call the attributes that it leaves to the function's own defaults.

    ONNX's inliner does not know them: the operators within would fall back to theirs.
    """
    for node in nodes:
        called = functions.get((node.domain, node.op_type, node.overload))
        given = {attribute.name for attribute in node.attribute}
        if called is not None:
            node.attribute.extend(a for a in called.attribute_proto if a.name not in given)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _write_out_defaults(graph.node, functions)
