"""Which method is better, and how sure that is: numbers worked out by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fg_onnx.evaluate.curves import Curve, Panel
from reproduction.comparing import compare, verdict

NAN = float("nan")


def panel(**values):
    curves = tuple(Curve(name, np.array(rows, dtype=np.float64)) for name, rows in values.items())
    points = tuple(float(at) for at in range(curves[0].values.shape[1]))
    return Panel("title", "axis", "quantity", points, curves)


def test_the_difference_of_means_by_hand():
    """Means 1, 2, 3 and 2, 4, 6: differences -1, -2, -3, whose deviation is 1."""
    found = panel(a=[[0, 2], [1, 3], [2, 4]], b=[[2, 2], [4, 4], [5, 7]])
    (one,) = compare(found, "a", ["b"], "lower")
    assert one.difference == -2
    assert one.standard_error == pytest.approx(1 / np.sqrt(3))
    assert one.margin == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)  # t of 2 degrees, 97.5 %
    assert one.outcome == "no difference"  # 2 < 2.484


@pytest.mark.parametrize(("shift", "better", "outcome"), [
    (-1.0, "lower", "better"),
    (-1.0, "higher", "worse"),
    (+1.0, "lower", "worse"),
    (+1.0, "higher", "better"),
])  # fmt: skip
def test_the_outcome_has_the_sign_of_what_is_better(shift, better, outcome):
    rows = np.random.default_rng(0).normal(size=(30, 4))
    (found,) = compare(panel(a=rows + shift, b=rows + 1e-3), "a", ["b"], better)
    assert found.outcome == outcome


def test_it_is_a_paired_test():
    """0 lies outside the interval where scipy's paired t-test rejects at 5 %, and only there."""
    draws = np.random.default_rng(1)
    seen = set()
    for _ in range(60):
        image = draws.normal(size=(12, 1)) * 10  # images differ by far more than methods
        a, b = (image + draws.normal(size=(12, 3)) for _ in range(2))
        (found,) = compare(panel(a=a, b=b + 0.4), "a", ["b"], "lower")
        rejected = stats.ttest_rel(a.mean(1), (b + 0.4).mean(1)).pvalue < 0.05
        assert (found.outcome != "no difference") == rejected
        seen.add(found.outcome)
    assert seen >= {"better", "no difference"}


def test_rows_that_are_undefined_are_left_out_of_both():
    found = panel(a=[[1.0], [NAN], [3.0], [100.0]], b=[[0.0], [50.0], [1.0], [NAN]])
    (one,) = compare(found, "a", ["b"], "lower")
    assert one.difference == 1.5
    with pytest.raises(ValueError, match="1 rows in common"):
        compare(panel(a=[[1.0], [NAN]], b=[[1.0], [2.0]]), "a", ["b"], "lower")


def test_equal_curves_do_not_differ():
    (found,) = compare(panel(a=[[1.0], [2.0]], b=[[1.0], [2.0]]), "a", ["b"], "lower")
    assert found.outcome == "no difference"


def test_the_verdict_names_where_a_claim_fails():
    rows = np.random.default_rng(2).normal(size=(40, 2)) / 100
    found = panel(mine=rows, worst=rows + 1, alike=rows[::-1], best=rows - 1)
    assert verdict(compare(found, "mine", ["worst"], "lower")).startswith("**Agrees**")
    assert verdict(compare(found, "mine", ["best", "alike"], "lower")).startswith(
        "**Does not agree**"
    )
    mixed = verdict(compare(found, "mine", ["worst", "alike", "best"], "lower"))
    assert mixed == (
        "**Agrees in part**: better than `worst`; no difference that these images show from "
        "`alike`; worse than `best`."
    )
