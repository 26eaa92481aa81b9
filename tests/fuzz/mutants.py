"""A mutant from a seed and a number: a small model with another structure, or other bytes."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnx

from sample_models import fetch, tasks, tiny
from tests.fuzz import bytewise, structure

_FASHION = Path(fetch.__file__).with_name("fashion_vgg.onnx")
_FASHION_SHARE = 0.04  # it takes as long as ten tiny models
_BYTEWISE = 0.15  # the share of mutants with changed bytes; few of them still parse
_CHANGES = (1, 1, 1, 2, 2, 3, 4)


def mutant(seed: int, number: int) -> tuple[bytes, str]:
    """The file, and what was done to what."""
    draws = np.random.default_rng([seed, number])
    named = _sources()
    names = sorted(named)
    name = "fashion_vgg" if draws.random() < _FASHION_SHARE else names[draws.integers(len(names))]
    model = onnx.ModelProto()
    model.CopyFrom(named[name])
    done = [name]
    if draws.random() < _BYTEWISE:
        data = model.SerializeToString()
        for _ in range(int(draws.choice(_CHANGES))):
            data, what = bytewise.change(draws, data)
            done.append(what)
        return data, " ".join(done)
    done += [structure.change(draws, model) for _ in range(int(draws.choice(_CHANGES)))]
    return model.SerializeToString(), " ".join(done)


@functools.cache
def _sources() -> dict[str, onnx.ModelProto]:
    exported = sorted(_FASHION.with_name("exported").glob("*.onnx"))
    files = {path.stem: onnx.load(path) for path in (_FASHION, *exported)}
    return {**tiny.all_models(), **tasks.all_models(), **files}
