"""A policy of a comparison: defaults, options, faults, and every check on numbers made up."""

from __future__ import annotations

import jsonschema
import pytest
from audit.nets import UNIT, net, photographs

from comparison.models import checks_of
from fg_onnx.audit.settings import faults
from fg_onnx.comparison.comparing import Options, compare, prepare
from fg_onnx.comparison.findings import CHECKS
from fg_onnx.comparison.pair import open_pair
from fg_onnx.comparison.policy import Policy, read_policy, schema
from fg_onnx.errors import InputError


def test_every_check_is_in_the_schema_and_the_other_way_round():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert list(schema()["properties"]) == list(CHECKS)


def test_the_defaults_follow_the_schema():
    checks = Policy().checks
    assert list(faults(checks, schema())) == []
    assert list(checks) == [
        "residual",
        "broken",
        "maps",
        "labels",
        "agreement",
        "spearman",
        "shift",
    ]
    assert {each["severity"] for each in checks.values()} == {"fail"}


def test_options_go_before_the_file():
    given = Policy({"spearman": {"least": 0.5, "least_worst": 0.1}, "shift": False})
    found = given.with_bounds({"spearman": ("least", 0.99), "shift": ("most", 0.2)}).checks
    assert found["spearman"] == {"least": 0.99, "least_worst": 0.1, "severity": "fail"}
    assert found["shift"] == {"most": 0.2, "severity": "fail"}
    assert given.with_bounds({}) == given


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("spearmann: {least: 1}\n", "line 1: `spearmann`: there is no such key"),
        ("\nspearman:\n  most: 1\n", "line 3: `spearman.most`: there is no such key"),
        ("spearman:\n  least: 2\n", "line 2: `spearman.least`: 2 is greater than"),
        ("agreement: {least: much}\n", "line 1: `agreement.least`: it is `'much'`"),
    ],
)
def test_a_fault_is_named_by_line_and_key(tmp_path, text, reason):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_policy(tmp_path / "policy.yaml")
    assert reason in caught.value.message
    assert "docs/compare.md" in caught.value.hint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two nets that differ, twenty images, and the document without a check."""
    folder = tmp_path_factory.mktemp("place")
    other = net(folder / "b.onnx", b1=[0.5, -0.5, 0.2, 0.1, 0.3, -0.1])
    pair = open_pair(net(folder / "a.onnx"), other)
    paths = photographs(folder / "images", 20)

    def run(policy, **options):
        off = dict.fromkeys(CHECKS, False)
        chosen = Options(Policy({**off, **policy}), shown=0, **options)
        return compare(prepare(pair, paths, (UNIT, UNIT), folder / "out", chosen))[0]

    return run


LIMITED = ("score", "output", "spearman", "top", "shift", "drift")


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("of", ["", "_median", "_worst"])
def test_a_bound_holds_at_the_value_and_not_beyond(place, name, of):
    document = place({})
    assert all(each.severity == "note" for each in document.findings)
    (measure,) = [each for each in document.measures if each.name == name]
    held = measure.distribution
    value = {"": held.mean, "_median": held.median, "_worst": measure.worst}[of]
    word, step = ("least", 1e-6) if measure.better == "high" else ("most", -1e-6)
    mean = {word: -1 if word == "least" else 10}  # beside what is tried, and not its default
    assert place({name: {**mean, f"{word}{of}": value}}).verdict == "pass"
    failed = place({name: {**mean, f"{word}{of}": value + step}})
    finding = checks_of(failed)[name]
    assert (failed.verdict, finding.measured) == ("fail", value)
    assert finding.limit == value + step
    assert finding.images == measure.images
    warned = place({name: {**mean, f"{word}{of}": value + step, "severity": "warning"}})
    assert (warned.verdict, checks_of(warned)[name].severity) == ("pass", "warning")


def test_the_worst_is_on_the_side_where_models_differ(place):
    for each in place({}).measures:
        held = each.distribution
        if each.better == "high":
            assert held.least <= each.worst <= held.median
        else:
            assert held.median <= each.worst <= held.most


def test_agreement_in_all_and_in_every_class(place):
    document = place({})
    assert 0 < document.agreement < 1
    share = {row.index: (row.images, row.agreement) for row in document.classes}
    assert sum(images * same for images, same in share.values()) / 20 == document.agreement
    assert place({"agreement": {"least": document.agreement}}).verdict == "pass"
    failed = place({"agreement": {"least": document.agreement + 1e-9}})
    assert len(checks_of(failed)["agreement"].images) == round(20 * (1 - document.agreement))
    lowest = min(same for _, same in share.values())
    finding = checks_of(place({"classes": {"least": 1, "images": 1}}))["classes"]
    assert finding.measured == lowest
    assert set(finding.images) == set(checks_of(failed)["agreement"].images)
    assert place({"classes": {"least": lowest, "images": 1}}).verdict == "pass"
    few = checks_of(place({"classes": {"least": 0, "images": 21}}))["classes"]
    assert (few.severity, few.title) == ("fail", "No class has 21 images")


def test_a_check_that_is_named_and_cannot_be_made_does_not_pass(place):
    finding = checks_of(place({"labels": {}}))["labels"]
    assert (finding.severity, finding.title) == ("fail", "The labels could not be compared")
    assert place({"maps": {}}).verdict == "pass"


def test_accuracy_needs_labels_and_counts_the_loss(place, tmp_path):
    assert "Give --labels" in checks_of(place({"accuracy": {}}))["accuracy"].text
    likely = place({}).classes[0]
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{at:04d}.png,{likely.index}\n" for at in range(20)))
    document = place({"accuracy": {"most": -1}}, labels=labels)
    assert document.a.accuracy == likely.images / 20
    finding = checks_of(document)["accuracy"]
    assert finding.measured == pytest.approx(document.a.accuracy - document.b.accuracy)
    assert place({"accuracy": {"most": 1}}, labels=labels).verdict == "pass"
    labels.write_text("0000.png,0\n")
    (note,) = [each for each in place({}, labels=labels).findings if each.check == "accuracy"]
    assert (note.severity, note.measured) == ("note", 19)


def test_matched_terms_and_residuals(place):
    document = place({"matched": {"least": 1.1 / 1.2}})
    assert document.verdict == "pass"
    assert document.covered == pytest.approx(1)
    strict = place({"residual": {"most": 0}})
    assert {each.title.split(" of ")[1][0] for each in strict.findings} <= {"A", "B"}
    assert strict.verdict == "fail"
    assert strict.a.tolerance == 0


def test_every_check_is_told_whatever_became_of_it(place):
    checks = {"spearman": {"least": 1, "least_worst": -1}, "agreement": False}
    document = place({**checks, "residual": {}, "drift": {}})
    assert {each.name for each in document.checks} == set(schema()["properties"])

    def told(name):
        return [(each.what, each.outcome, each.bound) for each in document.checks
                if each.name == name]  # fmt: skip

    assert told("spearman") == [
        ("mean rank correlation of the maps", "failed", "least"),
        ("median rank correlation of the maps", "not made", None),
        ("worst 5 % of the rank correlation of the maps", "passed", "least"),
    ]
    assert told("agreement") == [("", "not made", None)]
    assert [outcome for _, outcome, _ in told("residual")] == ["passed"] * 2
    # without a limit it tells its number all the same
    drift = next(each for each in document.checks if each.name == "drift")
    by_name = {each.name: each.distribution.mean for each in document.measures}
    assert (drift.outcome, drift.measured) == ("not made", pytest.approx(by_name["drift"]))
