"""What several test files share: sample models, and exported nets that are explained once."""

from __future__ import annotations

import gc
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
from sample_models.architectures import CLOSELY_TESTED, KNOWN

FASHION = Path(fetch.__file__).parent / "fashion_vgg.onnx"
THREADS = 2

EXPORTERS = ("torchscript", "dynamo")
IMAGES = 3
GIVEN = 7  # the class that is explained beside the predicted one


def run(model, feeds, outputs=None, *, optimise=True):
    """The outputs of a model (a path or a proto) by name, in ONNX Runtime on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = THREADS
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
        session = Session(self.instrumented, threads=THREADS)
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
    module = exports.export(name, source, exporter)
    instrument(source).save(instrumented)
    yield Net(name, exporter, source, instrumented, module, images_of(exports))
    source.unlink()
    instrumented.unlink()
    del module
    gc.collect()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a fixture: the tests of one exported net, else of one file."""
    for item in items:
        net_of = getattr(item, "callspec", None) and item.callspec.params.get("net")
        item.add_marker(pytest.mark.xdist_group("-".join(net_of) if net_of else item.path.name))


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


def images_of(exports: Any, count: int = IMAGES) -> np.ndarray:
    """Smooth random images, always the same (the nets are calibrated to such)."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return np.ascontiguousarray(exports.random_images(count).numpy())
