"""`fg-onnx evaluate`: files, documents, refusals."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import FASHION, FASHION_VGG, fg, fg_process, write_image, write_model
from graphs import build, draw, noise

from fg_onnx import samples
from fg_onnx.cli.evaluate.written import write_results
from fg_onnx.cli.options import MethodsOption
from fg_onnx.evaluate.curves import Curve, Panel, Results
from fg_onnx.methods import METHODS
from sample_models.tiny import all_models

STEPS = FASHION / "preprocess.yaml"
BAG, BOOT = FASHION / "bag_18.png", FASHION / "ankle-boot_0.png"


@pytest.fixture
def perturbed(tmp_path):
    """Runs `evaluate perturbation ... --json`, and gives the document."""

    def run(*arguments, out="out"):
        options = ["--preprocess", STEPS, "-o", tmp_path / out, "--json"]
        found = fg("evaluate", "perturbation", FASHION_VGG, *arguments, *options)
        assert found.code == 0, found.err
        return json.loads(found.out)

    return run


def test_perturbation(tmp_path, perturbed):
    methods = ["fullgrad", "fullgrad:psi=abs", "random"]
    chosen = ["--methods", ",".join(methods), "--percent", "0,20,80", "--seed", "5"]
    document = perturbed(BAG, BOOT, *chosen)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    endings = (".json", ".csv", ".images.csv", ".png", ".svg")
    assert names == {f"perturbation{ending}" for ending in endings}
    assert json.loads((tmp_path / "out" / "perturbation.json").read_text()) == document
    assert document["images"] == [str(BAG), str(BOOT)]
    settings = document["settings"]
    assert settings["seed"] == 5
    assert settings["model_sha256"] == hashlib.sha256(FASHION_VGG.read_bytes()).hexdigest()
    assert settings["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    assert settings["device"] == "cpu"
    (panel,) = document["panels"]
    assert panel["points"] == [0, 20, 80]
    assert [curve["method"] for curve in panel["curves"]] == methods
    for curve in panel["curves"]:
        assert np.array(curve["values"]).shape == (2, 3)
        assert np.allclose(curve["mean"], np.mean(curve["values"], axis=0))
        assert curve["mean"][0] == 0
    values = [curve["values"] for curve in panel["curves"]]
    assert values[0] != values[1] != values[2]
    with (tmp_path / "out" / "perturbation.csv").open() as file:
        assert len(list(csv.reader(file))) == 1 + 3 * 3


def test_the_seed_decides(perturbed):
    chosen = [BAG, BOOT, "--methods", "random", "--percent", "30"]
    one, same, other = (perturbed(*chosen, "--seed", seed)["panels"] for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_method_has_its_own_options(perturbed):
    chosen = [BAG, "--percent", "30", "--methods", "random:seed=1,random:seed=2,random"]
    document = perturbed(*chosen, "--seed", "1")
    one, other, given = (curve["values"] for curve in document["panels"][0]["curves"])
    assert one == given
    assert one != other


def test_arrays_need_no_preprocessing_but_for_black(tmp_path):
    model = write_model(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    command = ["evaluate", "perturbation", model, tmp_path / "images.npy", "-o", tmp_path / "out"]
    failed = fg(*command)
    assert failed.code == 2
    assert "--preprocess" in failed.err
    found = fg(*command, "--replace", "mean", "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["images"] == [f"{tmp_path / 'images.npy'}[{row}]" for row in range(3)]
    assert document["settings"]["preprocessing"] is None
    assert fg(*command, "--preprocess", "none").code == 0


def test_an_image_without_a_score_is_named_and_left_out(tmp_path):
    model = without_biases(tmp_path / "net.onnx")
    images = noise(3, 3, 8, 8)
    images[1] = 0
    np.save(tmp_path / "images.npy", images)
    command = ["evaluate", "perturbation", model, tmp_path / "images.npy", "-o", tmp_path / "out"]
    found = fg(*command, "--replace", "mean", "--methods", "random", "--json")
    assert found.code == 0, found.err
    assert "images.npy[1]" in found.err
    assert "images.npy[0]" not in found.err
    (curve,) = json.loads(found.out)["panels"][0]["curves"]
    assert set(curve["images"]) == {2}


def test_what_is_printed(tmp_path):
    options = ["--preprocess", STEPS, "--percent", "10,50", "-o", tmp_path]
    found = fg("evaluate", "perturbation", FASHION_VGG, BAG, BOOT, *options)
    assert found.code == 0
    assert found.err == ""
    lines = found.out.splitlines()
    assert lines[1].split() == ["method", "10", "50"]
    assert [line.split()[0] for line in lines[2:5]] == ["fullgrad", "input-gradient", "random"]
    assert "2 images" in lines[-1]


def test_without_matplotlib_the_numbers_are_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options = ["--preprocess", STEPS, "--percent", "10", "-o", tmp_path]
    found = fg("evaluate", "perturbation", FASHION_VGG, BAG, *options)
    assert found.code == 0
    assert "fg-onnx[evaluate]" in found.err
    endings = {path.name.split(".", 1)[1] for path in tmp_path.iterdir()}
    assert endings == {"json", "csv", "images.csv"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "nonsense"], "nonsense"),
        (["--methods", ""], "list of methods"),
        (["--methods", "random,random"], "each once"),
        (["--methods", "fullgrad:psi"], "OPTION=VALUE"),
        (["--methods", "fullgrad:no=1"], "no option"),
        (["--methods", "fullgrad:psi=no"], "psi"),
        (["--percent", "ten"], "list of numbers"),
        (["--percent", "10,5"], "rising"),
        (["--percent", "nan"], "rising"),
        (["--order", "some"], "some"),
        (["--replace", "white"], "white"),
        (["--seed", "-1"], "--seed"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, options, said):
    out = tmp_path / "out"
    chosen = ["--preprocess", STEPS, "-o", out, *options]
    found = fg("evaluate", "perturbation", FASHION_VGG, BAG, *chosen)
    assert found.code == 2
    assert said in found.err
    assert not out.exists()


def test_an_instrumented_model_is_refused(tmp_path):
    model = tmp_path / "vgg.fg.onnx"
    assert fg("instrument", FASHION_VGG, "-o", model).code == 0
    found = fg("evaluate", "perturbation", model, BAG, "--preprocess", STEPS)
    assert found.code == 2
    assert "instrumented" in found.err


def test_a_broken_image_leaves_nothing(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    write_image(tmp_path / "whole.png")
    chosen = ["--preprocess", STEPS, "-o", tmp_path / "out"]
    found = fg("evaluate", "perturbation", FASHION_VGG, tmp_path, *chosen)
    assert found.code == 2
    assert "broken.png" in found.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("experiment", ["perturbation", "flipping", "randomization"])
@pytest.mark.parametrize("place", ["/proc/nowhere", "file.npy", "file.npy/deeper"])
def test_a_place_that_cannot_be_written_is_refused_before_any_image(tmp_path, experiment, place):
    (tmp_path / "file.npy").write_bytes(b"")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")  # would be refused when it is read
    classes = ["--from", "8", "--to", "3"] if experiment == "flipping" else []
    chosen = [tmp_path / "broken.png", "-o", tmp_path / place, *classes]
    found = fg("evaluate", experiment, FASHION_VGG, *chosen, "--preprocess", STEPS)
    assert found.code == 2
    assert "cannot write" in found.err


def table_of(values, points, capsys, tmp_path):
    curve = Curve("m", np.array(values, dtype=np.float64))
    panel = Panel("t", "a", "q", tuple(points), (curve,))
    names = tuple(map(str, range(len(values))))
    write_results(Results("roar", "net.onnx", {}, names, (panel,)), tmp_path, as_json=False)
    return capsys.readouterr().out.splitlines()[1:3]


def test_small_numbers_are_shown(tmp_path, capsys):
    _, line = table_of([[1e-5, 0, 0.25], [3e-5, 0, 0.5]], (1, 2, 3), capsys, tmp_path)
    assert line == "m       2e-05 ±1e-05  0.000 ±0.000  0.375 ±0.125"


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (7, 7), (8, 8), (12, 6)])
def test_the_table_shows_all_points_of_a_few(tmp_path, capsys, count, shown):
    points = [float(at) for at in range(1, count + 1)]
    head, line = table_of([points], points, capsys, tmp_path)
    assert len(head.split()) == len(line.split()) == 1 + shown
    assert head.split()[1 :: max(shown - 1, 1)][:2] == ["1", f"{count}"][:shown]


def test_pictures_of_an_earlier_run_do_not_stay(tmp_path):
    def result(*titles):
        curve = Curve("m", np.ones((2, 2)))
        panels = tuple(Panel(title, "a", "q", (1.0, 2.0), (curve,)) for title in titles)
        return Results("randomization", "net.onnx", {}, ("a", "b"), panels)

    kept = tmp_path / "perturbation.png"
    kept.write_bytes(b"")
    write_results(result("cascading", "biases"), tmp_path, as_json=True)
    assert (tmp_path / "randomization-cascading.png").exists()
    write_results(result("biases"), tmp_path, as_json=True)
    pictures = {path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".svg")}
    assert pictures == {"perturbation.png", "randomization.png", "randomization.svg"}


@pytest.mark.parametrize("experiment", ["perturbation", "flipping", "randomization"])
def test_what_methods_say_of_their_numbers_is_told_once(tmp_path, experiment):
    model = write_model(tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", noise(10, 3, 8, 8))  # two batches
    integrated = "integrated-gradients:most_steps=16:tolerance=1e-9"
    options = {
        "perturbation": ["--replace", "mean"],
        "flipping": ["--from", "1", "--to", "3", "--replace", "mean"],
        "randomization": ["--modes", "independent"],
    }
    chosen = ["-o", tmp_path / "out", "--methods", f"{integrated},grad-cam,random", "--json"]
    command = ["evaluate", experiment, model, tmp_path / "images.npy"]
    found = fg(*command, *chosen, *options[experiment])
    assert found.code == 0, found.err
    notes = json.loads(found.out)["settings"]["notes"]
    assert set(notes) == {integrated, "grad-cam"}
    black, intervals, missing = notes[integrated]
    assert "black is taken to be 0" in black
    assert intervals == "intervals: 16 to 16"
    assert re.match(r"\d+ of \d+ maps, one of them: after 16 intervals", missing)
    for method, lines in notes.items():
        assert all(found.err.count(f"{method}: {line}") == 1 for line in lines)


@pytest.mark.parametrize("experiment", ["perturbation", "flipping", "randomization"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_named_and_refused(tmp_path, experiment, value):
    model = write_model(tmp_path / "net.onnx")
    images = noise(3, 3, 8, 8)
    images[1, 0, 4, 4] = value
    np.save(tmp_path / "images.npy", images)
    classes = ["--from", "1", "--to", "3"] if experiment == "flipping" else []
    chosen = [tmp_path / "images.npy", "-o", tmp_path / "out", "--methods", "random", *classes]
    found = fg("evaluate", experiment, model, *chosen, "--preprocess", "none")
    assert found.code == 2
    assert "images.npy[1]` holds values that are not finite" in found.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate perturbation", "evaluate randomization", "explain"])
def test_an_array_of_no_images_is_refused(tmp_path, command):
    model = write_model(tmp_path / "net.onnx")
    np.save(tmp_path / "empty.npy", noise(0, 3, 8, 8))
    chosen = [tmp_path / "empty.npy", "-o", tmp_path / "out", "--preprocess", "none"]
    found = fg(*command.split(), model, *chosen)
    assert found.code == 2
    assert "empty.npy` holds no sample" in found.err
    assert "unforeseen" not in found.err


def test_a_model_of_several_inputs_is_refused_without_an_option_that_is_not_there(tmp_path):
    onnx.save(all_models()["two_inputs"], tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", noise(2, 3, 16, 16))
    found = fg("evaluate", "perturbation", tmp_path / "net.onnx", tmp_path / "images.npy")
    assert found.code == 2
    assert "`extra`" in found.err
    assert "models of one input" in found.err
    assert "--feed" not in found.err


def test_images_are_read_once_where_no_bar_is_shown(tmp_path, monkeypatch):
    model = write_model(tmp_path / "net.onnx")
    write_image(tmp_path / "one.png", size=(8, 8))
    asked = []
    read = samples.read_image
    monkeypatch.setattr(samples, "read_image", lambda path: asked.append(path) or read(path))
    chosen = ["--preprocess", "none", "--methods", "random", "-o", tmp_path / "out"]
    found = fg("evaluate", "perturbation", model, tmp_path / "one.png", *chosen)
    assert found.code == 0, found.err
    assert len(asked) == 1


def test_the_legend_names_every_curve_of_every_panel(tmp_path):
    one, other = (Curve(name, np.ones((2, 2))) for name in ("fullgrad", "score of the model"))
    panels = tuple(Panel("t", "a", "q", (1.0, 2.0), (curve,)) for curve in (one, one, other))
    results = Results("randomization", "net.onnx", {}, ("a", "b"), panels)
    write_results(results, tmp_path, as_json=True)
    drawn = (tmp_path / "randomization.svg").read_text()
    assert drawn.count(">fullgrad<") == drawn.count(">score of the model<") == 1


def test_help_lists_every_method():
    text = get_args(MethodsOption)[1].help
    listed = text.partition("of: ")[2].partition(". ")[0].split(", ")
    assert listed == list(METHODS)


def test_help_is_quick_to_come():
    found = fg_process("evaluate", "perturbation", "--help")
    assert found.code == 0
    assert "least" in found.out


# --- randomization -------------------------------------------------------------------------------


def test_randomization(tmp_path):
    options = ["--preprocess", STEPS, "-o", tmp_path / "out", "--layers", "2", "--seed", "4"]
    command = ["evaluate", "randomization", FASHION_VGG, BAG, BOOT, *options]
    found = fg(*command, "--methods", "fullgrad:psi=abs,smooth-grad:samples=2", "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    modes = ["cascading", "independent", "biases"]
    assert document["settings"]["modes"] == modes
    assert [panel["title"] for panel in document["panels"]] == [m for m in modes for _ in range(4)]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *(f"randomization-{mode}{ending}" for mode in modes for ending in (".png", ".svg")),
        *(f"randomization{ending}" for ending in (".json", ".csv", ".images.csv")),
    }
    for panel in document["panels"][:-1]:
        for curve in panel["curves"]:
            assert np.array(curve["values"]).shape == (2, len(panel["points"]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--modes", "sideways"], "sideways"),
        (["--modes", "biases,biases"], "each once"),
        (["--layers", "0"], "--layers"),
        (["--methods", "nonsense"], "nonsense"),
    ],
)
def test_randomization_refuses_what_makes_no_sense(tmp_path, options, said):
    chosen = ["--preprocess", STEPS, "-o", tmp_path / "out", *options]
    found = fg("evaluate", "randomization", FASHION_VGG, BAG, *chosen)
    assert found.code == 2
    assert said in found.err
    assert not (tmp_path / "out").exists()


def without_biases(path):
    nodes = "c = Conv (x, w)\n r = Relu (c)\n p = GlobalAveragePool (r)\n logits = Flatten (p)"
    shapes = {"inputs": "float[N,3,8,8] x", "outputs": "float[N,4] logits"}
    onnx.save(build(nodes, {"w": draw("w", 4, 3, 3, 3)}, **shapes), path)
    return path


def test_a_model_without_biases_is_randomised_in_the_other_modes(tmp_path):
    model = without_biases(tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", noise(2, 3, 8, 8))
    command = ["evaluate", "randomization", model, tmp_path / "images.npy", "-o", tmp_path / "out"]
    found = fg(*command, "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["settings"]["modes"] == ["cascading", "independent"]
    assert "`biases` is left out" in found.err


def test_biases_that_are_asked_for_and_not_there_are_refused_at_once(tmp_path):
    model = without_biases(tmp_path / "net.onnx")
    (tmp_path / "broken.npy").write_bytes(b"")  # would be read before anything is computed
    command = ["evaluate", "randomization", model, tmp_path / "broken.npy", "-o", tmp_path / "out"]
    found = fg(*command, "--modes", "cascading,biases")
    assert found.code == 2
    assert "no biases" in found.err


def test_the_default_methods_take_a_net_with_smooth_activations(tmp_path):
    nodes = """
        c = Conv (x, w, b)
        s = Sigmoid (c)
        r = Mul (c, s)
        p = GlobalAveragePool (r)
        logits = Flatten (p)
    """
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4)}
    shapes = {"inputs": "float[N,3,8,8] x", "outputs": "float[N,4] logits"}
    onnx.save(build(nodes, weights, **shapes), tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", noise(2, 3, 8, 8))
    images = [tmp_path / "images.npy", "-o", tmp_path / "out", "--modes", "independent"]
    found = fg("evaluate", "randomization", tmp_path / "net.onnx", *images)
    assert found.code == 0, found.err


# --- flipping ------------------------------------------------------------------------------------

COAT = FASHION / "coat_6.png"


def test_flipping(tmp_path):
    methods = ["fullgrad:psi=signed", "fullgrad", "input-gradient", "grad-cam", "random"]
    options = ["--preprocess", STEPS, "-o", tmp_path, "--methods", ",".join(methods), "--json"]
    command = ["evaluate", "flipping", FASHION_VGG, COAT, BAG, *options]
    labels = ["--labels", FASHION / "labels.txt"]
    found = fg(*command, "--from", "coat", "--to", "6", *labels)
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert (document["settings"]["from"], document["settings"]["to"]) == (4, 6)
    odds, flipped = document["panels"]
    assert [curve["method"] for curve in odds["curves"]] == methods
    values = [curve["values"] for curve in odds["curves"]]
    assert all(one != other for i, one in enumerate(values) for other in values[:i])
    for curve in flipped["curves"]:
        coat, bag = curve["values"]
        assert set(coat) <= {0, 1}
        assert set(bag) == {None}  # it is no coat
        assert set(curve["images"]) == {1}
    assert "1 of 2 images not taken for class 4 rather than 6" in found.err
    endings = (".json", ".csv", ".images.csv", ".png", ".svg")
    assert {path.name for path in tmp_path.iterdir()} == {f"flipping{end}" for end in endings}
    again = fg(*command, "--from", "4", "--to", "6")
    assert again.out == found.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "8"], "--to"),
        (["--from", "8", "--to", "8"], "itself"),
        (["--from", "8", "--to", "10"], "no class 10"),
        (["--from", "-1", "--to", "3"], "no class -1"),
        (["--from", "eight", "--to", "3"], "eight"),
        (["--from", "8", "--to", "3", "--methods", "nonsense"], "nonsense"),
        (["--from", "8", "--to", "3", "--methods", "fullgrad:no=1"], "no option"),
        (["--from", "8", "--to", "3", "--methods", "fullgrad:psi=no"], "psi"),
    ],
)
def test_flipping_refuses_what_makes_no_sense(tmp_path, options, said):
    chosen = ["--preprocess", STEPS, "-o", tmp_path / "out", *options]
    found = fg("evaluate", "flipping", FASHION_VGG, BAG, *chosen)
    assert found.code == 2
    assert said in found.err
    assert not (tmp_path / "out").exists()
