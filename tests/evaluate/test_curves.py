"""Curves: standard errors, documents there and back, tables, pictures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import sys

import cv2
import numpy as np
import pytest

from fg_onnx.cli.console import to_json
from fg_onnx.errors import FgOnnxError
from fg_onnx.evaluate.curves import Curve, Panel, Results
from fg_onnx.evaluate.plots import draw


def results(values=((1.0, 2.0), (3.0, 6.0), (5.0, float("nan"))), points=(1, 50.0)):
    curves = (Curve("fullgrad", np.array(values)), Curve("random", -np.array(values)))
    panel = Panel("least-black", "removed, %", "change", points, curves)
    return Results("perturbation", "net.onnx", {"seed": 3}, ("a.png", "b,c.png", "d.png"), (panel,))


def test_mean_and_standard_error():
    curve = results().panels[0].curves[0]
    assert curve.counts.tolist() == [3, 2]
    assert curve.mean.tolist() == [3, 4]
    # deviations -2, 0, 2: s^2 = 8 / 2, s / sqrt(3); then -2, 2: s^2 = 8 / 1, s / sqrt(2)
    assert np.allclose(curve.standard_error, [2 / math.sqrt(3), 2])


def test_one_image_has_no_standard_error_and_none_has_no_mean():
    curve = Curve("m", np.array([[1.0, np.nan]]))
    assert curve.mean.tolist()[0] == 1
    assert np.isnan([curve.mean[1], *curve.standard_error]).all()


def test_the_document_there_and_back():
    document = json.loads(to_json(results().to_dict()))
    assert document["schema_version"] == 1
    assert (document["rows"], len(document["images"])) == ("image", 3)
    assert document["panels"][0]["curves"][0]["values"] == [[1, 2], [3, 6], [5, None]]
    again = Results.from_dict(document)
    assert json.loads(to_json(again.to_dict())) == document
    assert np.isnan(again.panels[0].curves[0].values[2, 1])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("panels"),
        lambda d: d.update(schema_version=2),
        lambda d: d.update(rows="epoch"),
        lambda d: d.update(rows="seed"),
        lambda d: d["images"].append("one more"),
        lambda d: d["panels"][0]["points"].pop(),
        lambda d: d["panels"][0]["curves"][0].update(values="rubbish"),
        lambda d: d.update(panels=[None]),
    ],
)
def test_a_document_of_something_else_is_refused(change):
    document = json.loads(to_json(results().to_dict()))
    change(document)
    with pytest.raises(FgOnnxError) as caught:
        Results.from_dict(document)
    assert caught.value.code == "not-results"


def test_tables():
    rows = list(csv.DictReader(io.StringIO(results().summary_csv())))
    assert len(rows) == 4
    assert rows[1] == {
        "panel": "least-black",
        "quantity": "change",
        "method": "fullgrad",
        "point": "50.0",
        "mean": "4.0",
        "standard_error": "2.0",
        "images": "2",
    }
    values = list(csv.DictReader(io.StringIO(results().values_csv())))
    assert len(values) == 12
    assert [row["value"] for row in values[:6]] == ["1.0", "2.0", "3.0", "6.0", "5.0", ""]
    assert values[2]["image"] == "b,c.png"


def test_rows_may_be_seeds():
    of_images = results()
    of_seeds = dataclasses.replace(of_images, rows=("0", "1", "2"), unit="seed")
    document = json.loads(to_json(of_seeds.to_dict()))
    assert document["seeds"] == ["0", "1", "2"]
    assert document["panels"][0]["curves"][0]["seeds"] == [3, 2]
    assert "images" not in json.dumps(document)
    again = Results.from_dict(document)
    assert (again.rows, again.unit) == (of_seeds.rows, "seed")
    assert of_seeds.summary_csv().splitlines()[0].endswith(",seeds")
    assert "seed" in next(csv.reader(io.StringIO(of_seeds.values_csv())))


@pytest.mark.parametrize("points", [(1, 50), ("conv1", "fc")])
def test_pictures(tmp_path, points):
    png, svg = draw(results(points=points), tmp_path / "a.b" / "curves")
    assert (png.name, svg.name) == ("curves.png", "curves.svg")
    pixels = cv2.imread(str(png))
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    text = svg.read_text()
    assert "fullgrad" in text
    draw(results(points=points), tmp_path / "again")
    assert (tmp_path / "again.svg").read_text() == text


def test_without_matplotlib_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FgOnnxError, match="fg-onnx\\[evaluate\\]"):
        draw(results(), tmp_path / "curves")
