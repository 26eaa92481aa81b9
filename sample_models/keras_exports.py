"""Tiny Keras CNNs with random weights, written by Keras' own export and by tf2onnx.

NHWC input `image` float [N,16,16,3] in 0..255, Softmax at the end, 5 classes. All weights and
statistics are drawn from a seed. With each model its
outputs for two images are kept, as Keras computes them.

TensorFlow is 1.7 GB, and not needed to use the files, which are in the repository:

    pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0
    python -m sample_models.keras_exports -o sample_models/exported
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from keras import Model, Sequential, layers

SIZE = (16, 16, 3)
CLASSES = 5
OPSETS = {"sequential": 15, "functional": 9}


def sequential() -> Model:
    """Rescaling, SAME padding with stride 2, depthwise and separable convolutions, ReLU6."""
    return Sequential(
        [
            layers.Input(SIZE, name="image"),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(scale=False),
            layers.ReLU(),
            layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def functional() -> Model:
    """Mean and deviation per channel, BatchNormalization kept, a residual, pools, Flatten."""
    image = layers.Input(SIZE, name="image")
    mean, deviation = np.array([120.0, 115.0, 100.0]), np.array([59.0, 57.0, 60.0])
    x = layers.Rescaling(1 / deviation, offset=-mean / deviation)(image)
    x = layers.Conv2D(6, 3, strides=2, padding="same")(x)
    skip = x
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(6, 3, padding="same")(x)
    x = layers.LeakyReLU(0.1)(layers.Add()([x, skip]))
    wide = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    fine = layers.AveragePooling2D(2)(x)
    x = layers.Concatenate()([wide, fine])
    x = layers.BatchNormalization()(x)
    x = layers.Dense(8, activation="silu")(layers.Flatten()(x))
    return Model(image, layers.Dense(CLASSES, activation="softmax")(x))


NETS: dict[str, Callable[[], Model]] = {"sequential": sequential, "functional": functional}


def write_all(folder: Path) -> list[Path]:
    """Write `keras_<net>.onnx`, `tf2onnx_<net>.onnx` and `keras_<net>.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in NETS.items():
        model = make()
        _randomise(model)
        images = np.random.default_rng(1).uniform(0, 255, (2, *SIZE)).astype(np.float32)
        expected = model(images).numpy()
        exported = folder / f"keras_{name}.onnx"
        model.export(exported, format="onnx", verbose=False)
        spec = tf.TensorSpec((None, *SIZE), tf.float32, name="image")
        converted = folder / f"tf2onnx_{name}.onnx"
        proto, _ = tf2onnx.convert.from_function(
            tf.function(model), [spec], opset=OPSETS[name], output_path=str(converted)
        )
        onnx.checker.check_model(proto)
        values = folder / f"keras_{name}.npz"
        np.savez_compressed(values, images=images, outputs=expected)
        written += [exported, converted, values]
    return written


def _randomise(model: Model) -> None:
    draws = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.dtype != "float32":
            continue
        if weight.name.endswith(("variance", "gamma")):
            values = draws.uniform(0.5, 1.5, shape)
        elif len(shape) < 2:
            values = draws.uniform(0.1, 0.5, shape) * draws.choice([-1, 1], shape)
        else:
            fan_in = np.prod(shape[:-1]) if shape[-1] > 1 else np.prod(shape[:2])
            values = draws.normal(0, np.sqrt(2 / fan_in), shape)
        weight.assign(values.astype(np.float32))


def main() -> None:
    """Write all models into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    for path in write_all(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()
