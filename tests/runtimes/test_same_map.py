"""The same outputs, contributions, map and gradients, whatever runtime computes them."""

from __future__ import annotations

from functools import cache

import pytest

from .agreement import agreement
from .models import FORMS, MODELS, expected, fed_to, instrumented
from .runners import RUNNERS, MissingError

pytestmark = [pytest.mark.runtimes, pytest.mark.network]


def _model(name: str) -> object:
    return pytest.param(name, marks=[pytest.mark.torch] if MODELS[name].torch else [])


@cache
def _expected(name: str) -> dict:
    return expected(name)


# The runtime comes second, so that what is expected of a model is computed once and kept.
@pytest.mark.parametrize("runtime", [name for name in RUNNERS if RUNNERS[name].judged])
@pytest.mark.parametrize("name", [_model(name) for name in MODELS])
def test_a_runtime_computes_the_same(name: str, runtime: str) -> None:
    runner, tried = RUNNERS[runtime], MODELS[name]
    try:
        runner.version()
    except MissingError as reason:
        pytest.skip(str(reason))
    if tried.slow and runtime == "reference":
        pytest.skip("it takes a minute; `make runtimes` runs it")
    for form in ("own",) if tried.slow else FORMS:
        made = instrumented(name, form, runner.deployed)
        found = runner.run(made.model, fed_to(made, name, form))
        apart = agreement(found, _expected(name)[form], made.manifest)
        assert not apart.failures, (form, apart.failures)
