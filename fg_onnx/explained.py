"""What is explained: which input of a model, and which of its tensors."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.primal import dependent_tensors, is_float
from fg_onnx.grid.pixels import is_pixels
from fg_onnx.steps import blame_operator
from fg_onnx.vjps import zeros

_IMAGE_RANKS = (4, 5, 3)  # images, then volumes, then signals
_SOFT = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
_PASSING = frozenset({"Identity", "Flatten", "Reshape", "Squeeze", "Dropout", "Cast"})


def fed_input(graph: gs.Graph, name: str | None, defaults: frozenset[str]) -> gs.Tensor:
    """The graph input that images are fed to.

    Args:
        graph: of the model.
        name: of the input; None: the first image that needs to be fed.
        defaults: the inputs that need not be.

    Raises:
        UnsupportedModelError: there is none.
    """
    if name is not None:
        for tensor in graph.inputs:
            if tensor.name == name and (is_float(tensor) or is_pixels(tensor)):
                return tensor
        raise UnsupportedModelError(
            "no-such-input",
            f"the model has no image input `{name}`",
            f"its inputs: {', '.join(tensor.name for tensor in graph.inputs)}",
        )
    needed = [tensor for tensor in graph.inputs if tensor.name not in defaults]
    floats = [tensor for tensor in needed if is_float(tensor) and tensor.shape is not None]
    images = [t for rank in _IMAGE_RANKS for t in floats if len(t.shape) == rank]
    images = images or [tensor for tensor in needed if is_pixels(tensor)]
    if not images:
        described = ", ".join(f"{t.name}: {t.dtype} {t.shape}" for t in needed)
        raise UnsupportedModelError(
            "no-image-input",
            "the model has no image input, neither floats of 3 to 5 dimensions nor integers of 4 "
            f"(it has {described or 'none'})",
            "export the model with its preprocessing outside, so that it takes float images",
        )
    return images[0]


def explained_output(
    graph: gs.Graph, x: gs.Tensor, name: str | None, opset: int
) -> tuple[gs.Tensor, str, str | None]:
    """The explained tensor, why it is that, and the graph output that ranks scores as it does.

    Args:
        graph: of the model.
        x: the explained input.
        name: of the tensor; None: the logits of the first output that fits.
        opset: of the graph.

    Raises:
        UnsupportedModelError: there is none, or an operator lies between.
    """
    if name is not None:
        tensor = graph.tensors().get(name)
        if tensor is None or not is_float(tensor) or isinstance(tensor, gs.Constant):
            raise UnsupportedModelError(
                "no-such-output",
                f"the model has no float tensor `{name}`",
                f"its outputs: {', '.join(output.name for output in graph.outputs)}",
            )
        ranking = name if tensor in graph.outputs else None
        return tensor, "named by the user", ranking
    dependent = dependent_tensors(graph, x, zeros(opset))
    floats = [t for t in graph.outputs if is_float(t) and t.shape is not None]
    for output in sorted(floats, key=lambda tensor: len(tensor.shape) < 2):  # rows come first
        if output.name in dependent:
            return *_before_softmax(output), output.name
    for output in graph.outputs:
        scores = _before_argmax(output)
        if scores is not None and scores is not x and scores.name in dependent:
            tensor, _ = _before_softmax(scores)
            return tensor, f"`{output.name}` is the ArgMax of these scores", None
    blame_operator(graph, x, opset)
    described = ", ".join(f"{t.name}: {t.dtype} {t.shape}" for t in graph.outputs)
    raise UnsupportedModelError(
        "no-output",
        f"no output fits: one row of float scores per image that depends on `{x.name}` is needed "
        f"(there is {described})",
        "name a float tensor with --output",
    )


def _before_softmax(output: gs.Tensor) -> tuple[gs.Tensor, str]:
    tensor = output
    while len(tensor.inputs) == 1:
        (node,) = tensor.inputs
        if node.op in _SOFT:
            logits = _unflattened(node.inputs[0])
            return logits, f"`{output.name}` ends in {node.op}: its logits are explained"
        if node.op not in _PASSING:
            break
        tensor = node.inputs[0]
    return output, f"`{output.name}` is the first output of float scores"


def _unflattened(tensor: gs.Tensor) -> gs.Tensor:
    """Rows of scores with the images apart, as they were before a Softmax over the last axis.

    Raising its opset from below 13 writes all other axes, the batch among them, into one.
    """
    made_by = tensor.inputs[0] if tensor.inputs else None
    if made_by is None or made_by.op != "Flatten" or made_by.inputs[0].shape is None:
        return tensor
    rank = len(made_by.inputs[0].shape)
    return made_by.inputs[0] if made_by.attrs.get("axis", 1) % rank == rank - 1 > 1 else tensor


def _before_argmax(output: gs.Tensor) -> gs.Tensor | None:
    tensor = output
    while len(tensor.inputs) == 1:
        (node,) = tensor.inputs
        if node.op == "ArgMax":
            return node.inputs[0]
        if node.op not in _PASSING:
            break
        tensor = node.inputs[0]
    return None


def require_rows(x: gs.Tensor, y: gs.Tensor) -> None:
    """Fail where it is not known which scores belong to which image.

    Raises:
        UnsupportedModelError: ``no-batch``.
    """
    batch = x.shape[0] if x.shape else None
    first = y.shape[0] if y.shape else None
    if y.shape is None:
        reason = "its shape is not known"
    elif batch == 1:
        return  # all of it belongs to the one image
    elif not y.shape:
        reason = "it is one number for a whole batch"
    elif isinstance(first, int) and first not in (1, batch):
        reason = f"its first dimension is {first}, and the batch is {batch}"
    else:
        return
    raise UnsupportedModelError(
        "no-batch",
        f"the explained tensor `{y.name}` has no row of scores for every image: {reason}",
        "name another tensor with --output, or export the model with a fixed batch of 1",
    )
