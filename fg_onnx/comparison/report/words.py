"""What every form of the report says in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fg_onnx.audit.report.numbers import count, counted
from fg_onnx.audit.report.text import basename
from fg_onnx.comparison.document import Comparison

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "spearman": "Rank correlation",
        "ssim": "Structural similarity",
        "top": "Top overlap",
        "shift": "Centre shift",
        "score": "Score change",
        "output": "Output change",
        "drift": "Contribution drift",
    }
)
"""The measures, those of the maps first."""
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "spearman": "Spearman's, of the maps: 1 is the same order of all pixels",
        "ssim": "of the maps, each rescaled to 0..1: 1 is the same",
        "top": "intersection over union of the tenth of the pixels with the largest magnitudes",
        "shift": "between the maps' centres of mass, in sides of the map",
        "score": "of the class that A predicts, in units of the larger magnitude",
        "output": "the largest of all scores, in units of the largest magnitude",
        "drift": "of the terms that both have, in units of A's sum of magnitudes",
    }
)


def names(document: Comparison) -> tuple[str, str]:
    """Of both models: the file names, or the whole paths where these are the same."""
    a, b = document.a.model.path, document.b.model.path
    short = basename(a), basename(b)
    return short if short[0] != short[1] else (a, b)


def matched(document: Comparison) -> str:
    """How many sites can be compared."""
    a, b = len(document.a.model.sites), len(document.b.model.sites)
    sites = counted(document.matched, "site")
    verb = "matches" if document.matched == 1 else "match"
    return f"{sites} {verb}, of {count(a)} in A and {count(b)} in B"
