"""Class names: read from a file, and found by what a user types."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fg_onnx.errors import InputError

if TYPE_CHECKING:
    from fg_onnx import Manifest

_MOST_LISTED = 8


def read_labels(path: Path) -> tuple[str, ...]:
    """The class names in a text file, one a line, the first for index 0.

    Raises:
        InputError: ``bad-labels``: the file cannot be read, or holds none.
    """
    hint = "give a text file in UTF-8 with one label a line, the first for index 0"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            "bad-labels", f"cannot read the labels `{path}`: {reason}", hint
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "bad-labels", f"the labels `{path}` are not text in UTF-8", hint
        ) from error
    labels = tuple(line.strip() for line in text.rstrip().split("\n"))
    if labels == ("",):
        raise InputError("bad-labels", f"the labels `{path}` are empty", hint)
    return labels


def require_count(labels: Sequence[str], manifest: Manifest, path: Path) -> None:
    """Fail where there is not one label for every class.

    Raises:
        InputError: ``bad-labels``.
    """
    if manifest.classes is not None and len(labels) != manifest.classes:
        counted = "classes" if manifest.dense else "scores"
        raise InputError(
            "bad-labels",
            f"`{path}` holds {len(labels)} labels, and the model has {manifest.classes} {counted}",
            "give one label for every score, one a line",
        )


def find_label(text: str, labels: Sequence[str] | None) -> int:
    """The index of the label that is the text, else of the only one that holds it; case is ignored.

    Raises:
        InputError: ``unknown-label`` for none, ``ambiguous-label`` for several, both with
            candidates.
    """
    if labels is None:
        raise InputError(
            "unknown-label",
            f"`{text}` is no number, and the model's labels are not known",
            "give the target as a number, or the labels with --labels FILE",
        )
    wanted = text.strip().casefold()
    folded = [label.casefold() for label in labels]
    found = [index for index, label in enumerate(folded) if label == wanted]
    found = found or [index for index, label in enumerate(folded) if wanted in label]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            "ambiguous-label",
            f"`{text}` matches {len(found)} labels",
            f"give the number of one of them: {_listed(found, labels)}",
        )
    near = difflib.get_close_matches(wanted, folded, n=_MOST_LISTED)
    candidates = [folded.index(label) for label in near] or range(len(labels))
    raise InputError(
        "unknown-label",
        f"no label matches `{text}`",
        f"the {'nearest' if near else 'labels'} are: {_listed(candidates, labels)}",
    )


def _listed(indices: Iterable[int], labels: Sequence[str]) -> str:
    chosen = list(indices)
    shown = [f"{labels[index]} ({index})" for index in chosen[:_MOST_LISTED]]
    more = len(chosen) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more else shown)
