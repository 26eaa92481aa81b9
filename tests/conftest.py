"""What several test files share: sample models, and exported nets that are explained once."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from chromium import Chromium

from fg_onnx import Attribution, Instrumented, Session, instrument
from fg_onnx.ort_training import environment
from sample_models import fetch, tiny
from sample_models.architectures import CLOSELY_TESTED, KNOWN, SIDE

FASHION = Path(fetch.__file__).parent / "fashion_vgg.onnx"
# A share of the cores for every worker of pytest-xdist: two that take all of them wait for each
# other, and the runtime's threads do so spinning.
THREADS = min(2, max(1, os.cpu_count() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))

HERE = Path(__file__).parent
# The marks of what `make fast` leaves out.
LONG = {"torch", "network", "engine", "browser", "ray", "runtimes"}

EXPORTERS = ("torchscript", "dynamo")
IMAGES = 3
GIVEN = 7  # the class that is explained beside the predicted one


class Options(ort.SessionOptions):
    """Of every session of these processes that asks for no number of threads."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = THREADS


ort.SessionOptions = Options


def run(model, feeds, outputs=None, *, optimise=True):
    """The outputs of a model (a path or a proto) by name, in ONNX Runtime on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = ort.InferenceSession(source, options, ["CPUExecutionProvider"])
    names = outputs or [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def noise(model, batch=3):
    """Random feeds for all inputs that have no default; symbolic batches of the size given."""
    held = {weight.name for weight in model.graph.initializer}
    draws = np.random.default_rng(0)
    return {
        value.name: draws.standard_normal(
            [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
        if value.name not in held
    }


@dataclass(frozen=True, eq=False)
class Sample:
    """A small model without torch, and something to feed it."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    _instrumented: dict[str, Instrumented] = field(default_factory=dict, init=False)

    @property
    def image(self) -> str:
        """The name of the explained input."""
        return self.model.graph.input[0].name

    def instrument(self, **options: Any) -> Instrumented:
        """The model, instrumented: once for each set of options, and copied."""
        key = repr(sorted(options.items()))
        if key not in self._instrumented:
            self._instrumented[key] = instrument(self.model, **options)
        found = self._instrumented[key]
        model = onnx.ModelProto()
        model.CopyFrom(found.model)
        return Instrumented(model, found.manifest)

    def explain(self, session, target=None, feeds=None, **options):
        """The sample's own feeds explained, some of them changed."""
        fed = {**self.feeds, **(feeds or {})}
        return session.explain(fed.pop(self.image), target, feeds=fed, **options)


def _samples() -> dict[str, Sample]:
    models = {**tiny.all_models(), "fashion_vgg": onnx.load(FASHION)}
    return {name: Sample(name, model, noise(model)) for name, model in models.items()}


SAMPLES = _samples()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless Chromium, once for all tests of a file; skips where there is none."""
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Every tiny model, and the VGG on Fashion-MNIST."""
    return SAMPLES[request.param]


@pytest.fixture(scope="session")
def samples() -> dict[str, Sample]:
    """The same by name."""
    return SAMPLES


@dataclass(eq=False)
class Net:
    """A net exported by torch and instrumented as it is by default.

    Attributes:
        name: of the net.
        exporter: that wrote it.
        path: of the source model.
        instrumented: the path of the instrumented model.
        module: the torch module that was exported.
        images: float32 [IMAGES, 3, 224, 224].
    """

    name: str
    exporter: str
    path: Path
    instrumented: Path
    module: Any
    images: np.ndarray

    @cached_property
    def explained(self) -> dict[str, Attribution]:
        """``predicted`` and ``given``: of all images; ``last``: predicted, of the last image."""
        session = Session(self.instrumented)
        return {
            "predicted": session.explain(self.images),
            "given": session.explain(self.images, GIVEN),
            "last": session.explain(self.images[-1:]),
        }


def _param(name: str, exporter: str) -> Any:
    marks = [pytest.mark.torch]
    if KNOWN[name].library == "package":
        marks.append(pytest.mark.network)
    return pytest.param((name, exporter), marks=marks, id=f"{name}-{exporter}")


@pytest.fixture(scope="session", params=[_param(n, e) for n in CLOSELY_TESTED for e in EXPORTERS])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Every exported net.

    Of session scope, so that pytest runs all tests of one net after each other, whatever file they
    are in: there is never more than one on disk and in memory.
    """
    exports = torch_exports()
    name, exporter = request.param
    folder = tmp_path_factory.mktemp("exports")
    source, instrumented = folder / f"{name}.onnx", folder / f"{name}.fg.onnx"
    module = exports.build(name)
    if name == "vgg11_bn":
        _narrow(module.classifier)
    exports.export_module(module, source, exports.torch.zeros(2, 3, SIDE, SIDE), exporter)
    instrument(source).save(instrumented)
    yield Net(name, exporter, source, instrumented, module, images_of(exports))
    source.unlink()
    instrumented.unlink()
    del module
    gc.collect()


def _narrow(classifier: Any, width: int = 256) -> None:
    """Leave some units of the hidden layers of a VGG's classifier, which is 0.5 GB else.

    The sums over all 25088 features stay, and so does the scale of the scores.
    """
    first, second, last = (layer for layer in classifier if hasattr(layer, "weight"))
    shrunk = first.out_features / width
    for layer, scale, inputs in ((first, 1, None), (second, shrunk, width), (last, shrunk, width)):
        layer.weight.data = (layer.weight.data[:, :inputs] * scale**0.5).contiguous()
    for layer in (first, second):
        layer.weight.data = layer.weight.data[:width].clone()
        layer.bias.data = layer.bias.data[:width].clone()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Give back what a test of a large net has freed: glibc would keep it, and several add up."""
    if "net" in getattr(item, "fixturenames", ()) and sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a fixture, and let what takes long begin first.

    Together are the tests of one exported net, else of one file. The workers of pytest-xdist take
    one group after the other: last come many that are short, so that no worker waits for the other.
    """
    groups = {item: _group(item) for item in items}
    size = Counter(groups.values())
    long = {groups[item] for item in items if LONG & {mark.name for mark in item.iter_markers()}}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (groups[item] not in long, -size[groups[item]]))


def _group(item: pytest.Item) -> str:
    net_of = getattr(item, "callspec", None) and item.callspec.params.get("net")
    return "-".join(net_of) if net_of else str(item.path.relative_to(HERE))


def engine_is_ready() -> None:
    """Fail where onnxruntime-training is not installed; ``make test`` installs it."""
    found = environment.status()
    assert found.ready, f"{found.trouble or 'not installed'}: run `{environment.INSTALL_COMMAND}`"


def torch_exports() -> Any:
    """The module `sample_models.exports`; skips where torch is not installed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    torch.set_num_threads(THREADS)
    from sample_models import exports

    return exports


def images_of(exports: Any, count: int = IMAGES, side: int = SIDE) -> np.ndarray:
    """Smooth random images, always the same (the nets are calibrated to such)."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return np.ascontiguousarray(exports.random_images(count, side).numpy())
