"""One planted change of every kind; all of them: ``python -m tests.verification.mutants``."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SAMPLES

from .mutants import mutants, outcome, sampled

SAMPLE = SAMPLES["bn_unfolded"]
ORIGINAL = SAMPLE.instrument().model
PLANTED = list(mutants(ORIGINAL, SAMPLE.model))


def test_every_part_and_kind_is_planted():
    kinds = {mutant.kind for mutant in PLANTED}
    for part in ("forward", "score", "adjoint", "contributions", "map"):
        assert f"{part} node" in kinds
    assert {"forward weight", "BatchNorm statistic", "promoted default", "forward edge"} <= kinds
    assert {"added edge", "added attribute", "output", "manifest entry", "source hash"} <= kinds


@pytest.mark.parametrize("mutant", sampled(PLANTED, 1), ids=lambda m: f"{m.kind}: {m.where}")
def test_a_planted_change_is_no_pass(mutant):
    with np.errstate(all="ignore"):
        assert outcome(mutant, SAMPLE.model, ORIGINAL) != "missed"


def test_the_model_itself_is_equivalent():
    """Not caught, and the same whatever it is fed: what `equivalent` means."""
    same = next(m for m in PLANTED if m.kind == "forward node")
    assert outcome(type(same)(same.kind, "nothing", ORIGINAL), SAMPLE.model, ORIGINAL) == (
        "equivalent"
    )
