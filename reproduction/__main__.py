"""Run all experiments, and write docs/reproduction.md with its pictures.

    python -m reproduction [--full] [--only NAME] [-o FOLDER] [--docs FOLDER]

What was found is kept in FOLDER as long as the product's code and the inputs stay the same.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from fg_onnx.files import replacing
from reproduction import claims, figures
from reproduction.experiments import experiments
from reproduction.inputs import prepare
from reproduction.page import PICTURES, Page
from reproduction.running import pictures, run
from reproduction.sizes import FULL, SMALL


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="for a larger machine")
    parser.add_argument(
        "--only", metavar="NAME", help="run what has NAME in its name, and write no page"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("build/reproduction"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    start = time.monotonic()
    size = FULL if arguments.full else SMALL
    folder = arguments.output / ("full" if arguments.full else "small")
    inputs = prepare(folder / "inputs", size)
    findings = {}
    for experiment in experiments(inputs, size):
        if arguments.only is None or arguments.only in experiment.name:
            print(f"--- {experiment.name}", flush=True)
            findings[experiment.name] = run(experiment, folder)
    if arguments.only is not None:
        return
    shown = arguments.docs / PICTURES
    shown.mkdir(parents=True, exist_ok=True)
    figures.figure_1(inputs, shown / "figure1.jpg")
    figures.figure_3(inputs, inputs.efficientnet, shown / "figure3-efficientnet.jpg")
    figures.figure_3(inputs, inputs.squeezenet, shown / "figure3-squeezenet.jpg")
    page = Page()
    claims.write(page, findings, size)
    seconds = sum(finding.seconds for finding in findings.values())
    text = page.write(len(list(inputs.photographs.iterdir())), seconds)
    for finding in findings.values():
        for name, path in pictures(finding, folder).items():
            if f"{PICTURES}/{name}" in text:
                shutil.copyfile(path, shown / name)
    with replacing(arguments.docs / "reproduction.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{arguments.docs / 'reproduction.md'}, in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
