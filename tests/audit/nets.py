"""Nets and images for audits, small enough to be run thousands of times."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from graphs import HEAD, build, draw

from fg_onnx.audit import auditing
from fg_onnx.audit.model import open_audited
from fg_onnx.audit.policy import Policy
from fg_onnx.pictures.preprocess import PRESETS

UNIT = PRESETS["unit"]


def weights(**changed):
    """Of the nets of this file; some may be changed."""
    found = {
        "w1": draw("w1", 6, 3, 3, 3),
        "b1": draw("b1", 6),
        "w2": draw("w2", 8, 6, 3, 3),
        "b2": draw("b2", 8),
        "fc_weight": draw("fc_weight", 5, 8),
        "fc_bias": draw("fc_bias", 5),
    }
    return {**found, **changed}


def net(path, activation="r1 = Relu (c1)", side=8, **changed):
    """Two convolutions with that activation between them, written to a file."""
    nodes = f"""
        c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
        {activation}
        c2 = Conv <pads = [1,1,1,1]> (r1, w2, b2)
        h = Relu (c2)
    """
    model = build(nodes + HEAD, weights(**changed), inputs=f"float[N,3,{side},{side}] x")
    path.write_bytes(model.SerializeToString())
    return path


def photographs(folder, count, side=8):
    """Pictures of noise, always the same."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{number:04d}.png"), pixels)
    return sorted(folder.iterdir())


def audited(model, paths, out, policy=None, steps=UNIT, **options):
    """The document of an audit, nothing sampled unless that is asked for."""
    chosen = auditing.Options(Policy(policy or {}), **{"sample": 0, "shown": 0, **options})
    prepared = auditing.prepare(open_audited(model), list(map(Path, paths)), steps, out, chosen)
    return auditing.audit(prepared)[0]


def checks_of(document):
    """The findings by their checks."""
    return {finding.check: finding for finding in document.findings}
