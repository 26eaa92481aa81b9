"""The browser, once for all tests of a file."""

from __future__ import annotations

import pytest

from tests.audit.chromium import Chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; skips where there is none."""
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()
