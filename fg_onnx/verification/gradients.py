"""The gradients and the map of an instrumented model, against tangents of its source.

Every bias-gradient ``B_s = ct_s * r_s`` is held against the source as a whole: if the tensor of the
site moves by ``r_s * d``, at random signs d, the score has to move by ``sum B_s * d``. All sites
move at once, each in proportion to the norm of its bias-gradient, so that none hides behind
another. What passes is right at every position but for a chance that falls with every draw; from
there on the contributions are sums, and the map is Eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.errors import FgOnnxError
from fg_onnx.manifest import Manifest, Site
from fg_onnx.verification import maps, traced
from fg_onnx.verification.graphs import Graph, run_tensors
from fg_onnx.verification.report import Check, largest, measured, worst_gap
from fg_onnx.verification.tangents import NoTangentError, Tangents
from fg_onnx.verification.traced import Term

Array = npt.NDArray[Any]

_DRAWS = 3
GRADIENTS = {"float64": 2e-5, "float32": 2e-5, "float16": 1e-2, "bfloat16": 1e-1}
"""Of the norm of one site's bias-gradient: what rounding in either direction leaves, of forward
values that are the same to the bit. Measured: see docs/verify.md."""
_QUANTISED = 1e-4
"""The same of a quantised model, whose offsets are rounding errors some times what they add up to;
up to 1.1e-5 was measured."""
_NOTHING = 1e-6
"""Of a tensor: an implicit offset that is but the rounding of what it is left of."""
_LEFT = 1e-2
"""Of the size of ``ct_y y``: 1e-7 of that, its rounding, is then well within `GRADIENTS`."""
SUMS = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}
"""Of the magnitudes: sums in float32, in another order."""
_NARROW_OUTPUT = {"float16": 1e-2, "bfloat16": 5e-2}


@dataclass(frozen=True, eq=False)
class Explained:
    """One run of the instrumented model for one target, none of its nodes fused.

    Attributes:
        outputs: by name.
        terms: of the input, then of every site.
        target: int64 [N], None under a cotangent.
    """

    outputs: Mapping[str, Array]
    terms: tuple[Term, ...]
    target: Array | None


@dataclass(frozen=True, eq=False)
class Gradients:
    """What is compared, at some images.

    Attributes:
        found: the manifest.
        model: the instrumented model.
        source: its source.
        feeds: of the source.
        seed: a cotangent for a model that takes one.
        draws: of directions.
    """

    found: Manifest
    model: Graph
    source: Graph
    feeds: Mapping[str, Array]
    seed: Array | None
    draws: np.random.Generator

    def checks(self) -> list[Check]:
        """All of them, in order."""
        names = self._names()
        if "contributions" not in self.found.emits:
            why = "the model emits no contributions, by which its bias-gradients are found"
            return [Check(name, "not run", why) for name in names]
        try:
            checks = [self._gradients(), self._contributions()]
            checks += [self._emitted(name) for name in names[2:]]
        except (NoTangentError, FgOnnxError) as error:
            return [Check(name, "not run", error.message) for name in names]
        return checks

    def _names(self) -> list[str]:
        words = ("input-gradient", "bias-gradients", "layer-maps", "saliency")
        return ["gradients", "contributions", *(w for w in words if w in self.found.emits)]

    # --- both models at the same values -------------------------------------------------------

    @cached_property
    def graph(self) -> Graph:
        """What tangents are pushed through: the source.

        Where a site lies in the body of a function, the forward part of the model, whose outputs
        are held against the source's.
        """
        names = {self.found.input, self.found.output, *(s.tensor for s in self.found.sites)}
        known = {*self.source.makers, *self.source.inputs}
        return self.source if names <= known else self.model

    @cached_property
    def tangents(self) -> Tangents:
        """Of the source at these images."""
        found = self.found
        return Tangents(self.graph, found.input, found.output, self.feeds, found.precision)

    @cached_property
    def offsets(self) -> list[Array]:
        """r of every site, in order."""
        tensors = {site.tensor for site in self.found.sites}
        whole = self.tangents.offsets(tensors)
        missing = sorted(tensors - whole.keys())
        if missing:
            raise NoTangentError("no-site", f"no tangent reaches the site's `{missing[0]}`", "")
        found = []
        for site in self.found.sites:
            offset = whole[site.tensor]
            if self._shares_tensor(site):
                bias = self.tangents.share_of_operand(site.tensor, _BETA)
                offset = offset - bias if site.kind == "implicit" else bias
            offset = np.where(np.isfinite(offset), offset, 0.0)
            if site.kind == "implicit":
                most = np.abs(self.tangents.number(site.tensor)).max(initial=0.0)
                if np.abs(offset).max(initial=0.0) <= _NOTHING * most:
                    offset = np.zeros_like(offset)
            found.append(offset)
        return found

    def _shares_tensor(self, site: Site) -> bool:
        return sum(other.tensor == site.tensor for other in self.found.sites) > 1

    @cached_property
    def explained(self) -> list[Explained]:
        """Of the predicted class, and of another where there is one."""
        first = self._explain(None)
        if first.target is None:
            return [first]
        count = self.tangents.values[self.found.output].size // len(first.target)
        if count < 2:
            return [first]
        other = (first.target + self.draws.integers(1, count, len(first.target))) % count
        return [first, self._explain(other)]

    def _explain(self, target: Array | None) -> Explained:
        fed = dict(self.feeds)
        if self.seed is not None:
            fed[manifest.SEED] = self.seed
        elif target is not None:
            fed[manifest.TARGET] = target
        elif self.found.runtime != "ort":
            fed[manifest.TARGET] = np.array([manifest.PREDICTED])
        names = [name for name in self.model.outputs if name not in self.source.outputs]
        outputs = run_tensors(self.model, fed, names)
        table = outputs[manifest.CONTRIBUTIONS].astype(np.float64)
        x = self.tangents.values[self.found.input].astype(np.float64)
        labels = ["", *(site.name for site in self.found.sites)]
        tensors = [self.found.input, *(site.tensor for site in self.found.sites)]
        offsets = [x, *self.offsets]
        values = self._values(fed, offsets, table)
        terms = (
            Term(*each) for each in zip(labels, tensors, table.T, offsets, values, strict=True)
        )
        return Explained(outputs, tuple(terms), outputs.get(manifest.EXPLAINED))

    def _values(
        self, fed: Mapping[str, Array], offsets: Sequence[Array], table: Array
    ) -> list[Array | None]:
        """``ct * r`` of every column, looked for near it first."""
        own = frozenset(self.tangents.values)
        columns = traced.columns(self.model, len(offsets))
        found = [traced.Found(None, np.inf)] * len(offsets)
        for steps in traced.STEPS if columns else ():
            rest = [i for i, each in enumerate(found) if not each.is_exact]
            near = {i: traced.candidates(self.model, columns[i], own, steps) for i in rest}
            arrays = run_tensors(self.model, fed, (name for each in near.values() for name in each))
            for i in rest:
                found[i] = traced.find_values(
                    offsets[i], table[:, i], near[i], arrays, self.found.precision
                )
        return [each.values for each in found]

    # --- gradients ----------------------------------------------------------------------------

    def _gradients(self) -> Check:
        """Every bias-gradient at full size, all at once and then, on failure, one by one."""
        tolerance = self._tolerance
        scales = self._scales()
        everything = list(range(len(scales)))
        worst = largest(self._worst(everything, scales) for _ in range(_DRAWS))
        held = [term for term in self.explained[0].terms if term.values is not None]
        count = len(self.explained[0].terms)
        detail = f"{len(held)} of {count} terms at full size"
        if len(held) < count:
            detail += ", the others as totals"
        if self.graph is not self.source:
            detail += "; on the model's forward part, for sites lie within functions"
        if not worst <= tolerance * np.sqrt(count):
            single = {i: self._worst([i], scales) for i in everything}
            bad = [i for i in everything if not single[i] <= tolerance]
            worst = largest(single.values())
            names = [self.explained[0].terms[i].name or "the input" for i in bad[:3]]
            detail += f"; wrong at {', '.join(names)}" if names else ""
            if bad and self.tangents.kinks:
                detail += f"; on a kink at {', '.join(sorted(self.tangents.kinks)[:3])}"
                return Check("gradients", "not run", detail, worst, tolerance)
            return measured("gradients", worst, tolerance, detail)
        return measured("gradients", worst / np.sqrt(count), tolerance, detail)

    @property
    def _tolerance(self) -> float:
        quantised = any(node.op_type == "QuantizeLinear" for node in self.tangents.nodes)
        return max(GRADIENTS[self.found.precision], _QUANTISED if quantised else 0.0)

    def _scales(self) -> list[float]:
        """By which a term is multiplied to be of norm 1; of one that is 0, as if it were usual.

        An implicit term is what is left of terms the size of ``ct_y y``, and is not asked to be
        better than their rounding.
        """
        terms = self.explained[0].terms
        norms = [_norm(t.column if t.values is None else t.values) for t in terms]
        sizes = [_norm(term.offset) for term in terms]
        each = [n / s if s else 0.0 for n, s in zip(norms, sizes, strict=True)]
        usual = float(np.median([ct for ct in each if ct] or [1.0]))
        kinds = ["", *(site.kind for site in self.found.sites)]
        found = []
        for term, kind, norm, size, ct in zip(terms, kinds, norms, sizes, each, strict=True):
            least = 0.0
            if kind == "implicit":
                least = _LEFT * max(ct, usual) * _norm(self.tangents.number(term.tensor))
            found.append(1.0 / (max(norm, least) or size * usual or 1.0))
        return found

    def _worst(self, indices: Sequence[int], scales: Sequence[float]) -> float:
        """How far the score moves from what the terms say, for one draw of signs."""
        signs = {i: self._signs(i) for i in indices}
        return self._gap(indices, signs, scales, {i: self._step(i, signs[i]) for i in indices})

    def _gap(
        self,
        indices: Sequence[int],
        signs: Mapping[int, Array],
        scales: Sequence[float],
        steps: Mapping[int, Array],
    ) -> float:
        moved: dict[str, Array] = {}
        for i in indices:
            tensor = self.explained[0].terms[i].tensor
            moved[tensor] = moved.get(tensor, 0.0) + scales[i] * steps[i]
        tangent = self.tangents.push(moved)
        gaps = []
        for explained in self.explained:
            found = self._moves_score(tangent, explained)
            expected = 0.0
            for i in indices:
                term = explained.terms[i]
                first = self.explained[0].terms[i]
                if first.values is None:
                    expected += scales[i] * float(signs[i]) * float(term.column.sum())
                elif term.values is None:
                    return float("inf")
                else:
                    expected += scales[i] * float((term.values * signs[i]).sum())
            # a target of another class may have larger gradients than the predicted one
            size = max(
                float(np.linalg.norm(t.values if t.values is not None else t.column)) * scales[i]
                for i, t in ((i, explained.terms[i]) for i in indices)
            )
            gaps.append(abs(found - expected) / max(size, 1.0))
        return largest(gaps)

    def _signs(self, index: int) -> Array:
        term = self.explained[0].terms[index]
        shape = () if term.values is None else term.values.shape
        return self.draws.choice([-1.0, 1.0], shape)

    def _step(self, index: int, signs: Array) -> Array:
        """How the term's tensor moves."""
        return self.explained[0].terms[index].offset * signs

    def _moves_score(self, tangent: Array, explained: Explained) -> float:
        if self.seed is not None:
            return float((tangent * self.seed.astype(np.float64)).sum())
        assert explained.target is not None
        rows = tangent.reshape(len(explained.target), -1)
        return float(np.take_along_axis(rows, explained.target[:, None], axis=1).sum())

    # --- what is made of them -----------------------------------------------------------------

    def _contributions(self) -> Check:
        """Every column against the sum of its bias-gradient, image by image."""
        tolerance = SUMS[self.found.precision]
        gaps: dict[str, float] = {}
        missing = 0
        for explained in self.explained:
            count = len(explained.terms[0].column)
            for term in explained.terms:
                if term.values is None:
                    missing += explained is self.explained[0]
                    continue
                values, column = np.atleast_1d(term.values), term.column
                if len(values) == count:
                    rows = values.reshape(count, -1)
                else:  # the batch is a part of another axis
                    rows, column = values.reshape(1, -1), column.sum(keepdims=True)
                scale = np.abs(rows).sum(1)
                gap = np.abs(rows.sum(1) - column) / np.where(scale > 0, scale, 1.0)
                where = term.name or "the input"
                gaps[where] = largest((*gap, gaps.get(where, 0.0)))
        worst, where = worst_gap(gaps)
        detail = f"{len(self.explained[0].terms) - missing} columns against sums over positions"
        return measured(
            "contributions", worst, tolerance, detail + (f", worst {where}" if worst else "")
        )

    def _emitted(self, word: str) -> Check:
        if word == "input-gradient":
            return self._input_gradient()
        terms = {t.name: t for t in self.explained[0].terms}
        lacking = [
            site.name
            for site in self.found.sites
            if terms[site.name].values is None and (site.spatial or word == "bias-gradients")
        ]
        if terms[""].values is None and word == "saliency":
            lacking.append("the input")
        if lacking:
            why = f"the bias-gradient of {lacking[0]} is nowhere in the model at full size"
            return Check(word, "not run", why)
        return {
            "bias-gradients": self._bias_gradients,
            "layer-maps": self._layer_maps,
            "saliency": self._saliency,
        }[word]()

    def _input_gradient(self) -> Check:
        """``fg_input_gradient`` against the tangent of the score along random signs."""
        tolerance = self._tolerance
        gaps = []
        for explained in self.explained:
            gradient = explained.outputs[manifest.INPUT_GRADIENT].astype(np.float64)
            norm = float(np.linalg.norm(gradient)) or 1.0
            for _ in range(_DRAWS):
                signs = self.draws.choice([-1.0, 1.0], gradient.shape)
                tangent = self.tangents.push({self.found.input: signs / norm})
                moved = self._moves_score(tangent, explained)
                gaps.append(abs(moved - float((gradient * signs).sum()) / norm))
        detail = f"along {_DRAWS} random directions"
        return measured("input-gradient", largest(gaps), tolerance, detail)

    def _bias_gradients(self) -> Check:
        tolerance = _NARROW_OUTPUT.get(self.found.precision, SUMS["float32"])
        gaps: dict[str, float] = {}
        for explained in self.explained:
            for term in explained.terms[1:]:
                assert term.values is not None
                array = explained.outputs[manifest.BIAS_GRADIENT + term.name].astype(np.float64)
                if array.shape != term.values.shape:
                    return Check("bias-gradients", "failed", f"`{term.name}` is {array.shape}")
                gap = _relative(array, term.values)
                gaps[term.name] = largest((gap, gaps.get(term.name, 0.0)))
        worst, where = worst_gap(gaps)
        detail = f"{len(self.found.sites)} sites" + (f", worst {where}" if worst else "")
        return measured("bias-gradients", worst, tolerance, detail)

    def _layer_maps(self) -> Check:
        gaps: dict[str, float] = {}
        for explained in self.explained:
            for site, expected in self._maps(explained):
                if site is None:
                    continue
                found = explained.outputs[manifest.LAYER_MAP + site.name][:, 0]
                gap = _beyond(found, expected.values, expected.doubt)
                gaps[site.name] = largest((gap, gaps.get(site.name, 0.0)))
        worst, where = worst_gap(gaps)
        detail = f"psi `{self.found.psi}` in NumPy" + (f", worst {where}" if worst else "")
        return measured("layer-maps", worst, 1.0, f"{detail}; 1 is what rounding may do")

    def _saliency(self) -> Check:
        gaps = []
        for explained in self.explained:
            found = explained.outputs[manifest.SALIENCY][:, 0]
            size = found.shape[1:]
            parts = [layer for _, layer in self._maps(explained)]
            total = np.sum([maps.resized(p.values, size, self.found.psi) for p in parts], axis=0)
            doubt = np.sum([part.doubt for part in parts], axis=0)
            gaps.append(_beyond(found, total, doubt))
        detail = f"Eq. 2 with psi `{self.found.psi}` in NumPy; 1 is what rounding may do"
        return measured("saliency", largest(gaps), 1.0, detail)

    def _layer(self, values: Array) -> maps.LayerMap:
        return maps.layer_map(values, self.found.psi, ROUNDING[self.found.precision])

    def _maps(self, explained: Explained) -> list[tuple[Site | None, maps.LayerMap]]:
        found: list[tuple[Site | None, maps.LayerMap]] = []
        if "saliency" in self.found.emits:
            values = explained.terms[0].values
            assert values is not None
            size = explained.outputs[manifest.SALIENCY].shape[2:]
            found.append((None, self._layer(_input_like(values, size))))
        for site, term in zip(self.found.sites, explained.terms[1:], strict=True):
            if site.spatial:
                assert term.values is not None
                like = maps.image_like(term.values, site)
                found.append((site, self._layer(like)))
        return found


_LEAST = 2e-6  # of a map's largest entry: rounding of float32 in its sum and resize
_BETA = 2
"""The operand that holds the bias of a normalisation, in all operators that have one."""


ROUNDING = {"float64": 2e-6, "float32": 2e-6, "float16": 3e-3, "bfloat16": 3e-2}
"""Of a layer's largest entry: products, sums over channels and the weights of a resize in float32;
the offsets of narrow models are rounded themselves."""


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array))


def _input_like(values: Array, size: tuple[int, ...]) -> Array:
    """The input term as [N, C, *grid], its channels first or last."""
    first = values.ndim == 2 + len(size) and values.shape[2:] == size
    channel = 1 if first else values.ndim - 1
    start = 2 if first else 1
    return maps.along(values, channel, tuple(range(start, start + len(size))))


def _relative(found: Array, expected: Array) -> float:
    scale = np.abs(expected).max(initial=0.0) or 1.0
    return float(np.abs(found - expected).max(initial=0.0) / scale)


def _beyond(found: Array, expected: Array, doubt: Array) -> float:
    """The largest difference of an entry, of what it may be off by; infinite for another shape."""
    if found.shape != expected.shape:
        return float("inf")
    rows = (len(found), *[1] * (found.ndim - 1))
    gap = np.abs(found.astype(np.float64) - expected)
    room = np.maximum(doubt.reshape(rows), _LEAST * np.abs(expected).max(initial=0.0) + 1e-30)
    return float((gap / room).max(initial=0.0))
