"""Exported models, kept in the cache: an export takes longer than all that is then checked."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from sample_models import fetch
from sample_models.architectures import KNOWN

_LIBRARIES = ("torch", "torchvision", "timm", "onnx", "onnxscript")
_MODULES = ("exports.py", "random_weights.py", "torch_export.py")  # not imported: they need torch


def exported(name: str, exporter: str) -> Path:
    """The path of an export in the cache, made first, by a process of its own, if need be.

    Raises RuntimeError with the exporter's last words where it fails.
    """
    folder = fetch.cache_dir() / "corpus"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{exporter}-{export_key(name)}.onnx"
    if not path.is_file():
        for older in folder.glob(f"{name}-{exporter}-*.onnx"):
            older.unlink()
        command = [sys.executable, "-m", "sample_models.exports", name]
        command += ["--exporter", exporter, "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the export fails: {last_line(done.stderr)}")
    return path


def export_key(name: str) -> str:
    """Changes with whatever an export depends on."""
    versions = [f"{library} {importlib.metadata.version(library)}" for library in _LIBRARIES]
    samples = Path(fetch.__file__).parent
    texts = [(samples / module).read_text() for module in _MODULES]
    return digest(repr(KNOWN.get(name, name)), *versions, *texts)


def digest(*texts: str) -> str:
    """Twelve hexadecimal digits."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def last_line(text: str) -> str:
    """The last words of a process."""
    return (text.strip().splitlines() or ["it says nothing"])[-1]
