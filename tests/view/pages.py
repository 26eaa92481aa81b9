"""A page in the browser, as a person and as a test meets it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from tests.chromium import Chromium

LONGEST = 120  # seconds that a small model may load and run on a busy machine
NO_GPU = "No available adapters."  # Chromium's own remark when a page asks whether there is one


class Page:
    """A page that was opened.

    Args:
        browser: that shows it.
        address: of its folder.
        seen: what `Chromium.open` is told of the window.
    """

    def __init__(self, browser: Chromium, address: str, **seen) -> None:
        self.browser = browser
        self.address = address
        browser.open(address, **seen)

    def tell(self, expression: str):
        return self.browser.tell(expression)

    def text(self, key: str) -> str:
        return self.tell(f"document.getElementById({json.dumps(key)}).innerText")

    def wait(self) -> str:
        """What is said when nothing is being done any more, or what has failed."""
        busy = "document.getElementById('main').ariaBusy"
        for _ in range(LONGEST * 20):
            if self.tell(busy) == "false":
                return self.text("failed") or self.text("said")
            time.sleep(0.05)
        raise AssertionError("the page is busy for too long")

    def ready(self) -> Page:
        assert self.wait() == "The model is ready. Choose a photo."
        return self

    def explain(self, path: Path) -> str:
        self.browser.choose_file("#file", path)
        return self.wait()

    def shown(self, expression: str):
        """Of what the page shows, in its own script's variables."""
        script = "new URL('js/page.js', document.baseURI)"
        return self.tell(f"import({script}).then(({{ shown }}) => {expression})")

    def numbers(self, expression: str) -> np.ndarray:
        return np.array(self.shown(f"Array.from({expression})"))

    def is_quiet(self) -> None:
        """Nothing was written to the console, and nothing fetched from elsewhere."""
        assert [line for line in self.browser.errors if line != NO_GPU] == []
        assert self.browser.dialogs == []
        origin = "/".join(self.address.split("/")[:3])
        own = (self.address, f"blob:{origin}/")
        assert [url for url in self.browser.requests if not url.startswith(own)] == []
