"""Tiny models, one for every kind of task and of image beyond a classifier of photographs.

python -m sample_models.tasks -o task_models
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto

from sample_models.fetch import write_bytes
from sample_models.written import written

_tasks: dict[str, Callable[[], ModelProto]] = {}

STEM = """
    c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
    r1 = Relu (c1)
    c2 = Conv <pads = [1,1,1,1], strides = [2,2]> (r1, conv2_weight, conv2_bias)
    h = Relu (c2)
"""
STEM_SHAPES = {
    "conv1_weight": (6, 3, 3, 3),
    "conv1_bias": (6,),
    "conv2_weight": (6, 6, 3, 3),
    "conv2_bias": (6,),
}
POOLED = """
    pooled = GlobalAveragePool (h)
    features = Flatten (pooled)
"""


def all_models() -> dict[str, ModelProto]:
    """Return every model under the name of its task."""
    return {name: make() for name, make in _tasks.items()}


def write_all(folder: str | Path) -> list[Path]:
    """Write every model as `folder/<task>.onnx`, and return the paths."""
    return [
        write_bytes(Path(folder) / f"{name}.onnx", model.SerializeToString(deterministic=True))
        for name, model in all_models().items()
    ]


def _task(make: Callable[[], ModelProto]) -> Callable[[], ModelProto]:
    """Enter a model into the table; its docstring becomes the model's doc string."""

    @functools.wraps(make)
    def documented() -> ModelProto:
        model = make()
        model.graph.name = make.__name__
        model.doc_string = (make.__doc__ or "").strip()
        onnx.checker.check_model(model, full_check=True)
        return model

    _tasks[make.__name__] = documented
    return documented


# --- what is put out ------------------------------------------------------------------------------


@_task
def multi_label() -> ModelProto:
    """Six labels that do not exclude each other: a Sigmoid ends the model."""
    nodes = f"""{STEM}{POOLED}
        logits = Gemm <transB = 1> (features, label_weight, label_bias)
        probabilities = Sigmoid (logits)
    """
    shapes = STEM_SHAPES | {"label_weight": (6, 6), "label_bias": (6,)}
    return written(nodes, shapes, outputs="float[N,6] probabilities")


@_task
def class_pixels() -> ModelProto:
    """A fully convolutional classifier: scores [N,5,1,1]."""
    nodes = f"""{STEM}
        pooled = GlobalAveragePool (h)
        logits = Conv (pooled, head_weight, head_bias)
    """
    shapes = STEM_SHAPES | {"head_weight": (5, 6, 1, 1), "head_bias": (5,)}
    return written(nodes, shapes, outputs="float[N,5,1,1] logits")


@_task
def regression() -> ModelProto:
    """One number an image, [N]."""
    nodes = f"""{STEM}{POOLED}
        last = Constant <value_ints = [1]> ()
        column = Gemm <transB = 1> (features, value_weight, value_bias)
        age = Squeeze (column, last)
    """
    shapes = STEM_SHAPES | {"value_weight": (1, 6), "value_bias": (1,)}
    return written(nodes, shapes, outputs="float[N] age")


@_task
def regression_column() -> ModelProto:
    """One number an image, [N,1]."""
    nodes = f"{STEM}{POOLED} age = Gemm <transB = 1> (features, value_weight, value_bias)"
    shapes = STEM_SHAPES | {"value_weight": (1, 6), "value_bias": (1,)}
    return written(nodes, shapes, outputs="float[N,1] age")


@_task
def regression_scalar() -> ModelProto:
    """One number of no dimension, for the one image of a fixed batch."""
    nodes = f"""{STEM}{POOLED}
        column = Gemm <transB = 1> (features, value_weight, value_bias)
        age = Squeeze (column)
    """
    shapes = STEM_SHAPES | {"value_weight": (1, 6), "value_bias": (1,)}
    return written(nodes, shapes, inputs="float[1,3,16,16] x", outputs="float age")


@_task
def squeezed() -> ModelProto:
    """Scores [5] of the one image of a fixed batch, which the export squeezed away."""
    nodes = f"""{STEM}{POOLED}
        first = Constant <value_ints = [0]> ()
        row = Gemm <transB = 1> (features, fc_weight, fc_bias)
        logits = Squeeze (row, first)
    """
    shapes = STEM_SHAPES | {"fc_weight": (5, 6), "fc_bias": (5,)}
    return written(nodes, shapes, inputs="float[1,3,16,16] x", outputs="float[5] logits")


@_task
def segmentation() -> ModelProto:
    """A class for every pixel: probabilities [N,4,16,16], over the logits of a small FCN."""
    nodes = f"""{STEM}
        coarse = Conv (h, head_weight, head_bias)
        logits = ConvTranspose <kernel_shape = [4,4], pads = [1,1,1,1], strides = [2,2]>
            (coarse, up_weight)
        probabilities = Softmax <axis = 1> (logits)
    """
    shapes = STEM_SHAPES | {
        "head_weight": (4, 6, 1, 1),
        "head_bias": (4,),
        "up_weight": (4, 4, 4, 4),
    }
    return written(nodes, shapes, outputs="float[N,4,16,16] probabilities")


@_task
def segmentation_nhwc() -> ModelProto:
    """The same with NHWC input and output [N,16,16,4], of logits."""
    nodes = f"""
        x = Transpose <perm = [0,3,1,2]> (image)
        {STEM}
        coarse = Conv (h, head_weight, head_bias)
        up = ConvTranspose <kernel_shape = [4,4], pads = [1,1,1,1], strides = [2,2]>
            (coarse, up_weight)
        logits = Transpose <perm = [0,2,3,1]> (up)
    """
    shapes = STEM_SHAPES | {
        "head_weight": (4, 6, 1, 1),
        "head_bias": (4,),
        "up_weight": (4, 4, 4, 4),
    }
    return written(
        nodes, shapes, inputs="float[N,16,16,3] image", outputs="float[N,16,16,4] logits"
    )


@_task
def label_map() -> ModelProto:
    """A segmentation that puts out the classes alone: int64 [N,8,8], an ArgMax of the logits."""
    nodes = f"""{STEM}
        logits = Conv (h, head_weight, head_bias)
        classes = ArgMax <axis = 1, keepdims = 0> (logits)
    """
    shapes = STEM_SHAPES | {"head_weight": (4, 6, 1, 1), "head_bias": (4,)}
    return written(nodes, shapes, outputs="int64[N,8,8] classes")


@_task
def detector() -> ModelProto:
    """Two heads over 128 anchors, as SSD has them: `boxes` [N,128,4] and `scores` [N,128,3]."""
    nodes = f"""{STEM}
        box_shape = Constant <value_ints = [0,-1,4]> ()
        score_shape = Constant <value_ints = [0,-1,3]> ()
        box_maps = Conv (h, box_weight, box_bias)
        box_last = Transpose <perm = [0,2,3,1]> (box_maps)
        boxes = Reshape (box_last, box_shape)
        score_maps = Conv (h, score_weight, score_bias)
        score_last = Transpose <perm = [0,2,3,1]> (score_maps)
        logits = Reshape (score_last, score_shape)
        scores = Sigmoid (logits)
    """
    shapes = STEM_SHAPES | {
        "box_weight": (8, 6, 1, 1),
        "box_bias": (8,),
        "score_weight": (6, 6, 1, 1),
        "score_bias": (6,),
    }
    return written(nodes, shapes, outputs="float[N,128,4] boxes, float[N,128,3] scores")


# --- what is taken --------------------------------------------------------------------------------


@_task
def siamese() -> ModelProto:
    """Two images, one net for both, and how much they differ: [N,1]."""
    nodes = """
        l1 = Conv <pads = [1,1,1,1]> (left, conv1_weight, conv1_bias)
        l2 = Relu (l1)
        r1 = Conv <pads = [1,1,1,1]> (right, conv1_weight, conv1_bias)
        r2 = Relu (r1)
        gap = Sub (l2, r2)
        far = Abs (gap)
        pooled = GlobalAveragePool (far)
        features = Flatten (pooled)
        distance = Gemm <transB = 1> (features, value_weight, value_bias)
    """
    shapes = {
        "conv1_weight": (6, 3, 3, 3),
        "conv1_bias": (6,),
        "value_weight": (1, 6),
        "value_bias": (1,),
    }
    return written(
        nodes,
        shapes,
        inputs="float[N,3,16,16] left, float[N,3,16,16] right",
        outputs="float[N,1] distance",
    )


@_task
def image_with_metadata() -> ModelProto:
    """A photograph, four measurements [N,4] and a site's number, int64 [N]."""
    nodes = f"""{STEM}{POOLED}
        place = Gather (table_weight, site)
        joined = Concat <axis = 1> (features, measured, place)
        logits = Gemm <transB = 1> (joined, joint_weight, joint_bias)
    """
    shapes = STEM_SHAPES | {
        "table_weight": (7, 2),
        "joint_weight": (5, 12),
        "joint_bias": (5,),
    }
    return written(nodes, shapes, inputs="float[N,3,16,16] x, float[N,4] measured, int64[N] site")


@_task
def signal() -> ModelProto:
    """A signal of two channels and 64 samples, such as an ECG: [N,2,64]."""
    nodes = """
        c1 = Conv <pads = [2,2]> (x, conv1d_weight, conv1_bias)
        n1 = BatchNormalization (c1, bn_scale, bn_bias, bn_mean, bn_var)
        r1 = Relu (n1)
        c2 = Conv <pads = [1,1], strides = [3]> (r1, conv2d_weight, conv2_bias)
        h = Relu (c2)
        pooled = GlobalAveragePool (h)
        features = Flatten (pooled)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
    """
    shapes = {
        "conv1d_weight": (6, 2, 5),
        "conv1_bias": (6,),
        "conv2d_weight": (6, 6, 3),
        "conv2_bias": (6,),
        "fc_weight": (5, 6),
        "fc_bias": (5,),
        **{f"bn_{part}": (6,) for part in ("scale", "bias", "mean", "var")},
    }
    return written(nodes, shapes, inputs="float[N,2,64] x")


@_task
def volume() -> ModelProto:
    """A scan of 6x12x10 voxels: [N,1,6,12,10]."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1,1,1]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        c2 = Conv <pads = [1,1,1,1,1,1], strides = [2,2,2]> (r1, conv2_weight, conv2_bias)
        h = Relu (c2)
        pooled = GlobalAveragePool (h)
        features = Flatten (pooled)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
    """
    shapes = {
        "conv1_weight": (6, 1, 3, 3, 3),
        "conv1_bias": (6,),
        "conv2_weight": (6, 6, 3, 3, 3),
        "conv2_bias": (6,),
        "fc_weight": (5, 6),
        "fc_bias": (5,),
    }
    return written(nodes, shapes, inputs="float[N,1,6,12,10] x")


@_task
def tokens() -> ModelProto:
    """Patches as tokens [N,16,6] behind a class token, mixed by attention; the class token decides.

    The image has 16x16 pixels, the grid of patches 4x4.
    """
    nodes = """
        row = Constant <value_ints = [0,6,-1]> ()
        zero = Constant <value_int = 0> ()
        patches = Conv <strides = [4,4]> (x, patch_weight, patch_bias)
        flat = Reshape (patches, row)
        t0 = Transpose <perm = [0,2,1]> (flat)
        size = Shape <start = 0, end = 1> (x)
        rest = Constant <value_ints = [1,6]> ()
        class_shape = Concat <axis = 0> (size, rest)
        class_token = Expand (class_bias, class_shape)
        t1 = Concat <axis = 1> (class_token, t0)
        placed = Add (t1, position_bias)
        keys = MatMul (placed, key_weight)
        across = Transpose <perm = [0,2,1]> (placed)
        alike = MatMul (keys, across)
        attention = Softmax (alike)
        seen = MatMul (attention, placed)
        t2 = Add (placed, seen)
        u1 = MatMul (t2, up_weight)
        u2 = Add (u1, up_bias)
        u3 = Relu (u2)
        d1 = MatMul (u3, down_weight)
        d2 = Add (d1, down_bias)
        t3 = Add (t2, d2)
        features = Gather <axis = 1> (t3, zero)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
    """
    shapes = {
        "patch_weight": (6, 3, 4, 4),
        "patch_bias": (6,),
        "class_bias": (1, 1, 6),
        "position_bias": (1, 17, 6),
        "key_weight": (6, 6),
        "up_weight": (6, 12),
        "up_bias": (12,),
        "down_weight": (12, 6),
        "down_bias": (6,),
        "fc_weight": (5, 6),
        "fc_bias": (5,),
    }
    return written(nodes, shapes)


def main() -> None:
    """Write every model into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    for path in write_all(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()
