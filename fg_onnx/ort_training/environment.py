"""The environment of onnxruntime-training, which cannot share one with the stock runtime.

Both wheels install a package called ``onnxruntime``. The last release for training is 1.19.2, for
CPython 3.8 to 3.12; it lives in a virtual environment in the user's cache and is only ever run as
a process of its own, for at worst it crashes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fg_onnx.errors import EngineError
from fg_onnx.files import cache_dir

VERSION = "1.19.2"
PACKAGE = f"onnxruntime-training-cpu=={VERSION}"
INSTALL_COMMAND = "fg-onnx engine install ort-training"

_PYTHONS = tuple((3, minor) for minor in range(12, 7, -1))
_PATIENCE = 600.0  # seconds for one call; DenseNet-121 takes 2
_PATIENCE_TO_INSTALL = 1800.0
_WITHOUT = "do without: --gradients standard"
_MOST_SAID = 200  # characters of a message of the runtime
_WORKER = Path(__file__).with_name("worker.py")
_PROBE = "import json, sys; print(json.dumps(sys.version_info[:2]))"
_CHECK = (
    "import json, numpy, platform, onnxruntime\n"
    "from onnxruntime.capi._pybind_state import GradientGraphBuilder\n"
    "print(json.dumps({'version': onnxruntime.__version__, 'numpy': numpy.__version__,"
    " 'python': platform.python_version()}))"
)


@dataclass(frozen=True)
class Status:
    """What there is of the engine.

    Attributes:
        folder: of its environment, there or not.
        version: of onnxruntime-training, None where it is not installed.
        python: of the environment, None where it is not installed.
        trouble: why an environment that is there cannot be used, or ``""``.
    """

    folder: Path
    version: str | None = None
    python: str | None = None
    trouble: str = ""

    @property
    def ready(self) -> bool:
        """Whether it can be used."""
        return self.version is not None


def folder() -> Path:
    """Where the environment is, or would be."""
    return cache_dir() / f"ort-training-{VERSION}"


def status() -> Status:
    """What there is, found out by importing it there."""
    return _status(folder())


def _status(environment: Path) -> Status:
    if not environment.exists():
        return Status(environment)
    try:
        found = json.loads(_call([str(_python(environment)), "-I", "-c", _CHECK], _PATIENCE).stdout)
    except (EngineError, ValueError) as error:
        trouble = error.message if isinstance(error, EngineError) else "it answers nonsense"
        return Status(environment, trouble=trouble)
    if found["version"] != VERSION:
        trouble = f"it holds onnxruntime-training {found['version']}, not {VERSION}"
        return Status(environment, trouble=trouble)
    return Status(environment, found["version"], found["python"])


def install(python: str | None = None) -> Status:
    """Create the environment anew, with any Python from 3.8 to 3.12 that is found.

    One that is there stays until the new one has shown that it works.

    Raises:
        EngineError: there is no such Python, or the package cannot be had.
    """
    maker = find_python() if python is None else _suitable(python)
    made = folder()
    _clear_away(made)
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=f"{made.name}-") as name:
        new = Path(name) / "new"
        _installing([maker, "-I", "-m", "venv", str(new)], "create a virtual environment")
        pip = [str(_python(new)), "-I", "-m", "pip", "install", "--quiet"]
        # Of what the package asks for, the gradient builder and the kernels need NumPy alone.
        _installing([*pip, "numpy"], "install numpy")
        _installing([*pip, "--no-deps", PACKAGE], f"install {PACKAGE}")
        found = _status(new)
        if not found.ready:
            raise EngineError(
                "engine-not-installed",
                f"{PACKAGE} cannot be imported by `{maker}`: {found.trouble}",
                "give another Python: --python /path/to/python3.11",
            )
        if made.exists():
            made.rename(Path(name) / "old")
        # who installs at the same time may have been faster: one of the two stays
        with contextlib.suppress(OSError):
            new.rename(made)
    return status()


def _clear_away(made: Path) -> None:
    """What installs that were killed have left."""
    for left in made.parent.glob(f"{made.name}-*"):
        if time.time() - left.stat().st_mtime > _PATIENCE_TO_INSTALL:
            shutil.rmtree(left, ignore_errors=True)


def find_python() -> str:
    """An interpreter from 3.8 to 3.12, this one before all others.

    Raises:
        EngineError: there is none.
    """
    for candidate in _candidates():
        with contextlib.suppress(EngineError):
            return _suitable(candidate)
    raise EngineError(
        "no-python",
        f"{PACKAGE} needs a Python from 3.8 to 3.12, and none was found",
        "install one, and give its path: --python /path/to/python3.11",
    )


def _suitable(python: str) -> str:
    """The interpreter, if it is one from 3.8 to 3.12."""
    try:
        major, minor = json.loads(_call([python, "-I", "-c", _PROBE], _PATIENCE).stdout)
    except (EngineError, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, EngineError) else "it is no Python"
        raise EngineError(
            "no-python",
            f"`{python}` cannot be used: {reason}",
            "give the path of a Python from 3.8 to 3.12",
        ) from error
    if (major, minor) not in _PYTHONS:
        raise EngineError(
            "no-python",
            f"`{python}` is Python {major}.{minor}, and {PACKAGE} needs one from 3.8 to 3.12",
            "give the path of another: --python /path/to/python3.11",
        )
    return python


def _candidates() -> Iterator[str]:
    yield sys.executable
    for major, minor in _PYTHONS:
        found = shutil.which(f"python{major}.{minor}")
        if found:
            yield found


def work(jobs: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Run the worker; for each job None, or why it could not be done (see worker.py).

    Raises:
        EngineError: the engine is not installed, or it crashes or hangs.
    """
    if not folder().exists():
        raise EngineError(
            "engine-missing",
            f"the engine ort-training is not installed (looked in `{folder()}`)",
            f"run `{INSTALL_COMMAND}`, or do without: --gradients standard",
        )
    with tempfile.TemporaryDirectory(prefix="fg-onnx-") as name:
        listed = Path(name) / "jobs.json"
        listed.write_text(json.dumps(list(jobs)), encoding="utf-8")
        try:
            _call([str(_python()), "-I", str(_WORKER), str(listed)], _PATIENCE)
        except EngineError as error:
            if error.code == "engine-hangs" or (found := status()).ready:
                raise
            raise EngineError(
                "engine-broken",
                f"the engine ort-training in `{folder()}` cannot be used: {found.trouble}",
                f"run `{INSTALL_COMMAND}` again, or do without: --gradients standard",
            ) from error
    return [_trouble(Path(job["out"])) for job in jobs]


def _trouble(out: Path) -> str | None:
    said = out.with_name(out.name + ".error")
    if said.is_file():
        return _reason(said.read_text(encoding="utf-8"))
    return None if out.is_file() else "it does not say why"


def _call(command: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
    """Run a process that reads nothing; what goes wrong with it is an error.

    Raises:
        EngineError: it cannot be started, does not end in time, crashes, or fails.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=patience,
            stdin=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            "engine-hangs",
            f"`{Path(command[0]).name}` did not answer within {patience:g} s and was stopped",
            _WITHOUT,
        ) from error
    except OSError as error:
        raise EngineError(
            "engine-broken", f"`{command[0]}` cannot be run: {error.strerror}", _WITHOUT
        ) from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise EngineError("engine-crashes", f"onnxruntime-training crashed ({name})", _WITHOUT)
    if done.returncode:
        raise EngineError("engine-fails", _reason(done.stderr), _WITHOUT)
    return done


def _installing(command: Sequence[str], what: str) -> None:
    try:
        _call(command, _PATIENCE_TO_INSTALL)
    except EngineError as error:
        raise EngineError(
            "engine-not-installed",
            f"cannot {what}: {error.message}",
            "the package has wheels for Linux on x86-64 and aarch64; --gradients standard needs "
            "none of it",
        ) from error


def _reason(said: str) -> str:
    """The end of the last line that says something: the runtime begins with its sources."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "[I:onnxruntime" not in line]
    last = (telling or lines or ["it does not say why"])[-1]
    return last if len(last) <= _MOST_SAID else f"... {last[-_MOST_SAID:]}"


def _python(environment: Path | None = None) -> Path:
    environment = environment or folder()
    if sys.platform == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"
