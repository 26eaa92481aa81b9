"""onnxruntime-web, which runs the model in the browser: fetched once, pinned, kept in the cache.

It comes through npm, so a registry or mirror that is configured for npm is used here too; nothing
is installed. A tarball that lies in the cache already is used without npm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fg_onnx.errors import RuntimeMissingError
from fg_onnx.files import cache_dir

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
_TARBALL = f"{PACKAGE}-{VERSION}.tgz"
_FOLDER = "package/dist/"  # in the tarball

FILES = (
    # the CPU in WebAssembly
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    # WebGPU, and the CPU beside it; fetched by the page only where there is a GPU
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""What the page needs of the package."""


def fetch() -> Path:
    """The package's tarball in the cache, fetched first if it is not there.

    Raises:
        RuntimeMissingError: ``no-npm``, ``not-fetched`` or ``wrong-checksum``.
    """
    path = cache_dir() / _TARBALL
    if path.is_file() and _sha512(path) == SHA512:
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeMissingError(
            "no-npm",
            f"{PACKAGE} {VERSION}, which runs models in a browser, cannot be fetched: there is no "
            "`npm` on this machine",
            f"install npm, or copy {_TARBALL} (from `npm pack {PACKAGE}@{VERSION}` elsewhere) into "
            f"{cache_dir()}",
        )
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".download-") as folder:
        command = [npm, "pack", "--pack-destination", folder, f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = Path(folder) / _TARBALL
        if done.returncode or not found.is_file():
            raise RuntimeMissingError(
                "not-fetched",
                f"{PACKAGE} {VERSION}, which runs models in a browser, cannot be fetched: "
                f"{_reason(done)}",
                f"is the registry that npm uses reachable? Or copy {_TARBALL} into {cache_dir()}",
            )
        actual = _sha512(found)
        if actual != SHA512:
            raise RuntimeMissingError(
                "wrong-checksum",
                f"{_TARBALL} has sha512 {actual}, but {SHA512} is pinned",
                "the file was replaced or damaged on the way; do not use it",
            )
        os.replace(found, path)
    return path


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("npm error", "npm ERR!"))]
    told = [line for line in errors if " code " not in line and "log of this run" not in line]
    return (told or errors or lines or [f"npm exits with {done.returncode}"])[0]


def members() -> Iterator[tuple[str, bytes]]:
    """The name and content of each of `FILES`.

    Raises:
        RuntimeMissingError: as `fetch`.
    """
    with tarfile.open(fetch()) as package:
        for name in FILES:
            file = package.extractfile(_FOLDER + name)
            assert file is not None  # the tarball is pinned
            yield name, file.read()


def _sha512(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()
