"""What is run with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime as ort

import fg_onnx
from benchmarks.methods import BARE, FORWARD, ONNX_AD, RISE, RISE_MEASURED
from benchmarks.variants import Files
from fg_onnx import methods
from fg_onnx.runtime import open_session

_RISE_BATCH = 16


def loaded(method: str, files: Files, threads: int) -> Callable[[int], Callable[[], object]]:
    """The model of a method, loaded; then a batch gives what is to be timed."""
    if method == RISE:
        return _rise(files, threads)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if method == ONNX_AD:
        return lambda batch: _gradient(files, batch, options)
    path = files.model(method)
    if method not in (FORWARD, BARE):
        explaining = fg_onnx.Session(path, device="cpu", threads=threads)
        return lambda batch: partial(explaining.explain, files.images(batch))
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepared(batch: int) -> Callable[[], object]:
        feeds = {session.get_inputs()[0].name: files.images(batch)}
        return lambda: session.run(None, feeds)

    return prepared


def _gradient(files: Files, batch: int, options: ort.SessionOptions) -> Callable[[], object]:
    """onnx-ad's, of a class that is known beforehand, which is in its favour."""
    session = open_session(str(files.model(ONNX_AD, batch)), options=options)
    image, seed = session.get_inputs()
    one_hot = np.zeros([batch, *seed.shape[1:-1], 1], np.float32)
    one_hot[:, 0] = 1
    feeds = {image.name: files.images(batch), seed.name: one_hot}
    return lambda: session.run(None, feeds)


def _rise(files: Files, threads: int) -> Callable[[int], Callable[[], object]]:
    session = fg_onnx.Session(files.model(RISE), device="cpu", threads=threads)
    method = methods.METHODS[RISE](samples=RISE_MEASURED)
    explainer = methods.Explainer(session, method, batch=_RISE_BATCH)
    image = files.images(1)  # every image is masked for itself: one stands for all of a batch
    return lambda _batch: lambda: explainer.explain(image)
