"""The bar over images: moved by what is done of them, from any thread."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from fg_onnx.cli.progress import Bar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def look(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> None:
    """In the module alone, for pytest exchanges the process's own stream."""
    monkeypatch.setattr("fg_onnx.cli.progress.sys", SimpleNamespace(stderr=stderr))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far the bar has moved in all, of a thousand for each image."""
    moved: list[int] = []

    class Recorded:
        def __enter__(self) -> Recorded:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, steps: int) -> None:
            moved.append(steps)

    look(monkeypatch, _Terminal())
    monkeypatch.setattr("typer.progressbar", lambda **_: Recorded())
    return moved


def test_it_moves_within_an_image_and_never_back(shown: list[int]) -> None:
    with Bar(2, wanted=True) as bar:
        for share in (0.25, 0.5, 0.4, 2.0):
            bar.within(1, share)
        bar.finish(1)
        bar.within(1, 0.5)
        bar.finish(1)
    assert shown == [250, 250, 500, 500, 500]


def test_images_that_are_done_side_by_side_all_count(shown: list[int]) -> None:
    with Bar(200, wanted=True) as bar, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bar.finish(1), range(200)))
    assert sum(shown) == 200 * 1000


def test_there_is_none_where_nobody_looks(
    shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bar(2, wanted=False) as bar:
        bar.finish(2)
    look(monkeypatch, io.StringIO())
    with Bar(2, wanted=True) as bar:
        bar.finish(2)
    assert shown == []
