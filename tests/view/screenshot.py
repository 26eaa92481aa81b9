"""The picture of the page in the README: SqueezeNet and a cat, in a real Chromium.

python -m tests.view.screenshot -o docs/images/view.jpg
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2

from sample_models import labels, photos, squeezenet
from tests.chromium import Chromium
from tests.commands import fg
from tests.view.conftest import serve
from tests.view.pages import Page

WIDTH, HEIGHT = 1160, 1130  # the photo, the numbers and the layers
QUALITY = 82


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        offered = [path for path in photos.write() if path.stem in ("chelsea", "coffee", "rocket")]
        outcome = fg(
            "view", squeezenet.write(), *offered, "-o", folder / "page",
            "--preprocess", "caffe-bgr", "--labels", labels.write(folder / "imagenet.txt"),
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        browser = Chromium(folder / "profile")
        try:
            with serve(folder / "page") as address:
                page = Page(browser, address, width=chosen.width, dark=chosen.dark).ready()
                browser.click("#offered button")
                page.wait()
                browser.tell("document.activeElement.blur(); scrollTo(0, 0)")
                browser.screenshot(folder / "whole.png", whole=True)
        finally:
            browser.close()
        pixels = cv2.imread(str(folder / "whole.png"))[: chosen.height]
        cv2.imwrite(str(chosen.output), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
