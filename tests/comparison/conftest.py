"""The browser of the audit's report, for that of a comparison too."""

from __future__ import annotations

from tests.audit.conftest import browser

__all__ = ["browser"]
