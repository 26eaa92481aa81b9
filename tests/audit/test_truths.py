"""Labels: which image a line is of, and which class it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fg_onnx.audit.items import Item
from fg_onnx.audit.truths import read_truths
from fg_onnx.errors import InputError

ITEMS = [Item(Path(name)) for name in ("set/a/1.png", "set/b/1.png", "set/b/cat.jpg")]
NAMES = ["tench", "crane", "crane", "Cat"]


@pytest.fixture
def truths(tmp_path):
    def read(text, items=ITEMS, names=NAMES, classes=4):
        (tmp_path / "labels.csv").write_text(text)
        return read_truths(tmp_path / "labels.csv", items, names, classes)

    return read


@pytest.mark.parametrize("head", ["", "image,label\n", "Path,class\n"])
def test_by_path_end_of_path_and_stem(truths, head):
    found = truths(f"{head}set/a/1.png,0\nb/1.png,3\ncat,CAT\n")
    assert found.classes.tolist() == [0, 3, 3]
    assert found.unused == []


def test_what_is_left(truths):
    found = truths("cat.jpg,1\ndog.jpg,2\n")
    assert found.classes.tolist() == [-1, -1, 1]
    assert found.unused == ["dog.jpg"]


def test_a_whole_path_is_no_end_of_another(truths):
    items = [Item(Path("1.png")), Item(Path("more/1.png"))]
    assert truths("1.png,2\n", items).classes.tolist() == [2, -1]


def test_rows_of_an_array(truths):
    items = [Item(Path("x/all.npy"), row) for row in range(3)]
    assert truths("all.npy[1],2\nall[2],0\n", items).classes.tolist() == [-1, 2, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.png,0\n", "stands for several images: `set/a/1.png` and `set/b/1.png`"),
        ("cat,0\ncat,1\n", "line 2: `cat` has another label"),
        ("set/a/1.png,0\n./set/a/1.png,1\n", "has `./set/a/1.png` more than once"),
        ("cat,4\n", "line 1: there is no class 4, the model has 4"),
        ("cat,crane\n", "the classes 1, 2 have the name `crane`"),
        ("cat,dog\n", "no class has the name `dog`"),
        ("cat\n", "line 1: one cell"),
        ("", "are empty"),
        ("dog,1\n", "names none of the images; its first name is `dog`"),
    ],
)
def test_labels_that_make_no_sense(truths, text, reason):
    with pytest.raises(InputError, match=reason) as caught:
        truths(text)
    assert caught.value.code == "bad-labels"


def test_names_need_the_names_of_the_classes(truths):
    with pytest.raises(InputError, match="the names of the classes are not known"):
        truths("cat,cat\n", names=None)


def test_names_with_backslashes_and_bytes_that_are_no_text(truths):
    odd = os.fsdecode(b"set/\xff.png")
    items = [Item(Path("set/a\\b.png")), Item(Path(odd)), Item(Path("set/c/1.png"))]
    lines = "".join(f"{item.name},{n}\n" for n, item in enumerate(items))
    assert truths(lines, items).classes.tolist() == [0, 1, 2]
    assert truths("a\\b,3\n\\xff.png,2\nset\\c\\1.png,1\n", items).classes.tolist() == [3, 2, 1]
