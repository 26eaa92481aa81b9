"""The environment of onnxruntime-training, which cannot share one with the stock runtime.

Both wheels install a package called ``onnxruntime``. The last release for training is 1.19.2, for
CPython 3.8 to 3.12; it lives in a virtual environment in the user's cache and is only ever run as
a process of its own, for at worst it crashes.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
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
    if not _python().is_file():
        return Status(folder())
    try:
        done = _call([str(_python()), "-I", "-c", _CHECK], _PATIENCE)
        found = json.loads(done.stdout)
    except (EngineError, ValueError) as error:
        return Status(folder(), trouble=str(error).splitlines()[0])
    return Status(folder(), found["version"], found["python"])


def install(python: str | None = None) -> Status:
    """Create the environment anew, with any Python from 3.8 to 3.12 that is found.

    Raises:
        EngineError: there is no such Python, or the package cannot be had.
    """
    maker = python or find_python()
    made = folder()
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".engine-") as name:
        new = Path(name) / made.name
        _installing([maker, "-m", "venv", str(new)], "create a virtual environment")
        pip = [str(_python(new)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Of what the package asks for, the gradient builder and the kernels need NumPy alone.
        _installing([*pip, "numpy"], "install numpy")
        _installing([*pip, "--no-deps", PACKAGE], f"install {PACKAGE}")
        shutil.rmtree(made, ignore_errors=True)
        shutil.move(new, made)
    found = status()
    if not found.ready:
        raise EngineError(
            "engine-broken",
            f"{PACKAGE} was installed into `{made}` and cannot be imported there: {found.trouble}",
            "give another Python: --python /path/to/python3.11",
        )
    return found


def find_python() -> str:
    """An interpreter from 3.8 to 3.12, this one before all others.

    Raises:
        EngineError: there is none.
    """
    for candidate in _candidates():
        try:
            done = _call([candidate, "-I", "-c", _PROBE], _PATIENCE)
            if tuple(json.loads(done.stdout)) in _PYTHONS:
                return candidate
        except (EngineError, ValueError):
            continue
    raise EngineError(
        "no-python",
        f"{PACKAGE} needs a Python from 3.8 to 3.12, and none was found",
        "install one, and give its path: --python /path/to/python3.11",
    )


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
    if not _python().is_file():
        raise EngineError(
            "engine-missing",
            f"the engine ort-training is not installed (looked in `{folder()}`)",
            f"run `{INSTALL_COMMAND}`, or use --gradients standard",
        )
    with tempfile.TemporaryDirectory(prefix="fg-onnx-") as name:
        listed = Path(name) / "jobs.json"
        listed.write_text(json.dumps(list(jobs)), encoding="utf-8")
        _call([str(_python()), "-I", str(_WORKER), str(listed)], _PATIENCE)
    return [_trouble(Path(job["out"])) for job in jobs]


def _trouble(out: Path) -> str | None:
    said = out.with_name(out.name + ".error")
    if said.is_file():
        return _reason(said.read_text(encoding="utf-8"))
    return None if out.is_file() else "it does not say why"


def _call(command: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=patience,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            "engine-hangs",
            f"onnxruntime-training did not answer within {patience:.0f} s and was stopped",
            "use --gradients standard",
        ) from error
    except OSError as error:
        raise EngineError(
            "engine-broken", f"`{command[0]}` cannot be run: {error.strerror}", _again()
        ) from error
    if done.returncode < 0:
        raise EngineError(
            "engine-crashes",
            f"onnxruntime-training crashed ({signal.Signals(-done.returncode).name})",
            "use --gradients standard",
        )
    if done.returncode:
        raise EngineError(
            "engine-fails",
            f"onnxruntime-training failed: {_reason(done.stderr)}",
            "use --gradients standard",
        )
    return done


def _installing(command: Sequence[str], what: str) -> None:
    try:
        _call(command, _PATIENCE_TO_INSTALL)
    except EngineError as error:
        raise EngineError(
            "engine-not-installed",
            f"cannot {what}: {error.message.partition(': ')[2] or error.message}",
            "the package has wheels for Linux on x86-64 and aarch64; --gradients standard needs "
            "none of it",
        ) from error


def _reason(stderr: str) -> str:
    """The last line that says something; a log line of the runtime says nothing."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "[I:onnxruntime" not in line]
    return (telling or lines or ["it does not say why"])[-1]


def _again() -> str:
    return f"run `{INSTALL_COMMAND}` again"


def _python(environment: Path | None = None) -> Path:
    environment = environment or folder()
    if sys.platform == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"
