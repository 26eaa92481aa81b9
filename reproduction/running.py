"""Run the commands, and keep what they found as long as nothing has changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import fg_onnx
from fg_onnx.evaluate.curves import Results
from fg_onnx.files import replacing
from reproduction.experiments import Experiment


@dataclass(frozen=True)
class Finding:
    """What an experiment found.

    Attributes:
        experiment: the command.
        results: its curves.
        seconds: it took.
    """

    experiment: Experiment
    results: Results
    seconds: float


def run(experiment: Experiment, folder: Path) -> Finding:
    """Run a command in a process of its own, unless it ran before on the same code and inputs.

    Raises:
        CalledProcessError: it failed.
    """
    place = folder / experiment.name
    stamp = place / "stamp.json"
    wanted = {"arguments": list(experiment.arguments), "inputs": _digest(experiment)}
    held = json.loads(stamp.read_text()) if stamp.is_file() else {}
    if {key: held.get(key) for key in wanted} != wanted:
        command = [sys.executable, "-m", "fg_onnx.cli", "evaluate", experiment.kind]
        start = time.monotonic()
        subprocess.run(
            [*command, *experiment.arguments, "--out", str(place)], check=True, text=True
        )
        held = {**wanted, "seconds": time.monotonic() - start}
        with replacing(stamp) as temporary:
            temporary.write_text(json.dumps(held))
    document = json.loads((place / f"{experiment.kind}.json").read_text())
    return Finding(experiment, Results.from_dict(document), held["seconds"])


def pictures(finding: Finding, folder: Path) -> dict[str, Path]:
    """The curves of an experiment, by the name that the page gives them."""
    place, kind = folder / finding.experiment.name, finding.experiment.kind
    return {
        finding.experiment.name + path.name.removeprefix(kind): path
        for path in sorted(place.glob(f"{kind}*.png"))
    }


def _digest(experiment: Experiment) -> str:
    """Of the product's code and of every file that the command names."""
    package = Path(fg_onnx.__file__).parent
    files: list[Path] = [*package.rglob("*.py"), *(package.parent / "cli").rglob("*.py")]
    for argument in experiment.arguments:
        path = Path(argument)
        if path.is_dir():
            files += (each for each in path.iterdir() if each.is_file())
        elif path.is_file():
            files.append(path)
    return _digest_of(sorted(files))


def _digest_of(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
