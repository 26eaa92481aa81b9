"""What a preprocessing may hold, and where it may come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import PRESETS, Preprocessing, load_preprocessing


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    preset = load_preprocessing(name)
    assert Preprocessing.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset


@pytest.mark.parametrize(
    ("name", "darkest", "brightest"),
    [
        ("imagenet", -0.485 / 0.229, (1 - 0.485) / 0.229),
        ("caffe-bgr", -103.939, 255 - 103.939),
        ("tf", -1.0, 1.0),
        ("unit", 0.0, 1.0),
        ("efficientnet-lite", -127 / 128, 1.0),
        ("none", 0.0, 255.0),
    ],
)
def test_presets_map_0_and_255_as_their_papers_say(
    name: str, darkest: float, brightest: float
) -> None:
    p = PRESETS[name]
    ends = [(x * p.scale - p.mean[0]) / p.std[0] for x in (0, 255)]
    assert ends == pytest.approx([darkest, brightest])


def test_what_is_left_out_is_the_default() -> None:
    assert Preprocessing.from_dict({}) == PRESETS["none"]


def test_one_number_will_do() -> None:
    p = Preprocessing.from_dict({"size": 32, "mean": 1, "std": 2.5})
    assert (p.size, p.mean, p.std) == ((32, 32), (1.0,), (2.5,))


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"sizes": [1, 1]}, "`sizes`"),
        ({1: 2}, "`1`"),
        ({"size": "224"}, "`size`"),
        ({"size": [224]}, "`size`"),
        ({"size": [224.0, 224]}, "`size`"),
        ({"size": [0, 224]}, "`size`"),
        ({"size": True}, "`size`"),
        ({"resize": 1.5}, "`resize`"),
        ({"resize": True}, "`resize`"),
        ({"resize": 0}, "`resize`"),
        ({"resize": 256, "fit": "stretch"}, "`resize`"),
        ({"fit": "pad"}, "`fit`"),
        ({"fit": None}, "`fit`"),
        ({"mean": "0.5"}, "`mean`"),
        ({"mean": [0.5, "0.5", 0.5]}, "`mean`"),
        ({"mean": []}, "`mean`"),
        ({"mean": [1, 2]}, "`mean`"),
        ({"mean": float("nan")}, "`mean`"),
        ({"mean": [1, 2, 3], "channels": "gray"}, "`mean`"),
        ({"std": [1, 1]}, "`std`"),
        ({"std": 0}, "`std`"),
        ({"std": [1, 0.0, 1]}, "`std`"),
        ({"std": None}, "`std`"),
        ({"scale": "1/255"}, "`scale`"),
        ({"scale": 0}, "`scale`"),
        ({"scale": float("inf")}, "`scale`"),
        ({"channels": "RGB"}, "`channels`"),
        ({"layout": "chw"}, "`layout`"),
        ({"layout": 3}, "`layout`"),
        ({"interpolation": "lanczos"}, "`interpolation`"),
        ({"size": [224, 2**40]}, "`size`"),
        ({"resize": 2**40}, "`resize`"),
        ({"scale": 10**400}, "`scale`"),
        ({"mean": [10**400] * 3}, "`mean`"),
        ([1, 2], "mapping"),
        (None, "mapping"),
    ],
)
def test_bad_documents_are_named(document: object, named: str) -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict(document)  # type: ignore[arg-type]
    assert caught.value.code == "bad-preprocessing"
    assert named in caught.value.message
    assert caught.value.hint


def test_unknown_keys_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict({"Size": 1})
    for key in Preprocessing().to_dict():
        assert key in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", "preset: imagenet\nsize: [299, 299]\nresize: 342\n"),
        ("p.YML", "{preset: imagenet, size: 299, resize: 342}"),
        ("p.json", '{"preset": "imagenet", "size": [299, 299], "resize": 342}'),
    ],
)
def test_a_file_overrides_its_preset(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    p = load_preprocessing(str(tmp_path / name))
    assert (p.size, p.resize) == ((299, 299), 342)
    assert p.mean == PRESETS["imagenet"].mean


def test_a_file_without_a_preset(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("channels: gray\nscale: 0.5\n")
    assert load_preprocessing(str(tmp_path / "p.yaml")) == Preprocessing(channels="gray", scale=0.5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.yaml", b"preset: imagnet\n"),
        ("p.yaml", b"preset: [1]\n"),
        ("p.yaml", b"size: [1, 2"),
        ("p.yaml", b""),
        ("p.yaml", b"imagenet"),
        ("p.yaml", b"scale: 1/255\n"),
        ("p.yaml", b"\xff\xfe\x00"),
        ("p.json", b"{size: 3}"),
        ("p.json", b"[]"),
        ("p.json", b"[" * 100_000),
        ("p.yaml", b"[" * 100_000),
        ("p.yaml", b"size: 2001-99-99"),
        ("p.yaml", b"a: &a [1, 2, 3]\nmean: *a"),
        ("p.yaml", b"a: &a {x: 1}\n<<: *a"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_preprocessing(str(path))
    assert caught.value.code == "bad-preprocessing"
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["imagnet", "", "nowhere.yaml"])
def test_neither_preset_nor_file(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_preprocessing(name)
    assert caught.value.code == "unknown-preprocessing"
    assert "imagenet" in caught.value.hint


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load_preprocessing(str(tmp_path / "p.yaml"))


def test_aliases_of_aliases_are_not_written_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path = tmp_path / "laughs.yaml"
    path.write_text("\n".join([*lines, "mean: *a11"]))
    with pytest.raises(InputError, match="alias") as caught:
        load_preprocessing(str(path))
    assert len(caught.value.message) < 500


def test_long_values_are_not_written_out() -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict({"fit": 7, "mean": {str(i): i for i in range(10**5)}})
    assert len(caught.value.message) < 500
