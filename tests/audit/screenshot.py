"""The picture of a report in the README: SqueezeNet on eight photographs, in a real Chromium.

python -m tests.audit.screenshot -o docs/images/audit.jpg
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2

from sample_models import labels, photos, squeezenet
from tests.chromium import Chromium
from tests.commands import fg

WIDTH, HEIGHT = 1160, 1240
QUALITY = 80
LEFT_OUT = ("findings", "model", "ledger", "distributions", "classes")


def main() -> None:
    """Write the picture: the head and the gallery."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcome = fg(
            "audit", squeezenet.write(), *photos.write(), "-o", folder / "audit",
            "--preprocess", "caffe-bgr", "--classes", labels.write(folder / "imagenet.txt"),
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        browser = Chromium(folder / "profile")
        try:
            browser.open(folder / "audit" / "audit.html", width=WIDTH)
            for section in LEFT_OUT:
                browser.tell(f"document.getElementById('{section}').remove()")
            browser.screenshot(folder / "whole.png", whole=True)
        finally:
            browser.close()
        pixels = cv2.imread(str(folder / "whole.png"))[:HEIGHT]
        cv2.imwrite(str(chosen.output), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
