"""The environment of onnxruntime-training: made, found, broken, and made anew."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from commands import FASHION_VGG, fg
from conftest import engine_is_ready

from fg_onnx import instrument
from fg_onnx.errors import EngineError
from fg_onnx.ort_training import environment

pytestmark = pytest.mark.engine


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A cache without an engine."""
    monkeypatch.setenv("FG_ONNX_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the environment, to be broken."""
    engine_is_ready()
    source = environment.folder()
    monkeypatch.setenv("FG_ONNX_CACHE", str(tmp_path))
    shutil.copytree(source, environment.folder(), symlinks=True)
    assert environment.status().ready
    return environment.folder()


def script(path: Path, text: str) -> str:
    """An executable that is no suitable Python."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_it_the_command_that_installs_it_is_said(nowhere):
    with pytest.raises(EngineError, match="is not installed") as caught:
        instrument(FASHION_VGG, gradients="ort-training")
    assert caught.value.code == "engine-missing"
    assert "fg-onnx engine install ort-training" in caught.value.hint
    done = fg("instrument", FASHION_VGG, "-o", nowhere / "x.onnx", "--gradients", "ort-training")
    assert done.code == 2
    assert "fg-onnx engine install ort-training" in done.err
    assert not (nowhere / "x.onnx").exists()


def test_status(nowhere):
    done = fg("engine", "status")
    assert done.code == 1
    assert "not installed" in done.out
    found = json.loads(fg("engine", "status", "--json").out)
    assert (found["ready"], found["version"]) == (False, None)


def test_status_of_what_is_there():
    engine_is_ready()
    done = fg("engine", "status", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert (found["ready"], found["version"]) == (True, "1.19.2")
    assert found["folder"] == str(environment.folder())


@pytest.mark.network
def test_it_is_installed_and_cleared_up_after(nowhere):
    left = nowhere / f"{environment.folder().name}-killed"
    left.mkdir()
    os.utime(left, (0, time.time() - 1e5))
    done = fg("engine", "install")
    assert done.code == 0, done.err
    assert "ready" in done.out
    assert list(nowhere.iterdir()) == [environment.folder()]
    assert instrument(FASHION_VGG, gradients="ort-training").manifest.gradients == "ort-training"


@pytest.mark.parametrize("lost", ["numpy", "onnxruntime/capi/onnxruntime_pybind11_state.*so"])
def test_a_broken_one_is_to_be_installed_again(copied, lost):
    (path,) = copied.glob(f"lib/python3.*/site-packages/{lost}")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert fg("engine", "status").code == 1
    with pytest.raises(EngineError, match="cannot be used") as caught:
        instrument(FASHION_VGG, gradients="ort-training")
    assert caught.value.code == "engine-broken"
    assert "install ort-training` again" in caught.value.hint


def test_another_version_is_not_taken(copied, monkeypatch):
    monkeypatch.setattr(environment, "VERSION", "1.18.0")
    copied.rename(environment.folder())
    assert "1.19.2, not 1.18.0" in environment.status().trouble


def test_one_that_works_stays_until_the_new_one_does(copied, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EngineError, match="cannot install numpy") as caught:
        environment.install()
    assert caught.value.code == "engine-not-installed"
    assert environment.status().ready
    assert list(copied.parent.iterdir()) == [copied]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo '[3, 13]'", "is Python 3.13"),
        ("echo hello", "it is no Python"),
        ("exit 1", "it does not say why"),
    ],
)
def test_an_unsuitable_python_is_named(nowhere, text, reason):
    python = script(nowhere / "python", text)
    done = fg("engine", "install", "--python", python)
    assert done.code == 2
    assert reason in done.err
    assert python in done.err
    assert "3.8 to 3.12" in done.err + reason or "python3.11" in done.err


def test_a_python_that_is_not_there(nowhere):
    done = fg("engine", "install", "--python", nowhere / "none")
    assert done.code == 2
    assert f"`{nowhere / 'none'}` cannot be used" in done.err


def test_the_first_suitable_python_is_found(nowhere, monkeypatch):
    newer = script(nowhere / "python3.12", "echo '[3, 13]'")
    older = script(nowhere / "python3.9", "echo '[3, 9]'")
    monkeypatch.setattr(environment.sys, "executable", newer)
    monkeypatch.setenv("PATH", str(nowhere))
    assert environment.find_python() == older
    Path(older).unlink()
    with pytest.raises(EngineError, match="none was found"):
        environment.find_python()
