"""The picture of a chart in docs/profile.md: SqueezeNet's profile, in a real Chromium.

python -m tests.profiling.screenshot -o docs/images/profile.jpg
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2

from sample_models import squeezenet
from tests.chromium import Chromium
from tests.commands import fg

WIDTH = 1160
QUALITY = 80
LEFT_OUT = ("parts", "operators", "sites")


def main() -> None:
    """Write the picture, of the head and the chart, and print the tables of the same run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = folder / "profile.html"
        outcome = fg("profile", squeezenet.write(), "--threads", 2, "--top", 8, "-o", page)
        assert outcome.code == 0, outcome.err
        print(outcome.out)
        browser = Chromium(folder / "profile")
        try:
            browser.open(page, width=WIDTH)
            for section in LEFT_OUT:
                browser.tell(f"document.getElementById('{section}').remove()")
            below = browser.tell("document.querySelector('main').getBoundingClientRect().bottom")
            browser.screenshot(folder / "whole.png", whole=True)
        finally:
            browser.close()
        pixels = cv2.imread(str(folder / "whole.png"))[: int(below) + 24]
        cv2.imwrite(str(chosen.output), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
