"""What both models do with the same images: outputs, score, completeness, slopes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.manifest import Manifest
from fg_onnx.verification import feeding, structure
from fg_onnx.verification.gradients import Gradients
from fg_onnx.verification.graphs import Graph, open_graph, run_session, run_tensors
from fg_onnx.verification.report import Check, ImageResult, largest, measured, worst_gap, worst_of
from fg_onnx.verification.slopes import slope

Array = npt.NDArray[Any]

OUTPUTS = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}
"""Of the largest entry: sums of some thousand products in another order, for the runtime may fuse
other nodes; of narrow floats some units in the last place."""

RESIDUALS = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""Of the magnitudes that are added up."""

UNITS = {"float64": 2.0**-24, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoffs; what is added beside a model in float64 is so too, its outputs float32."""

SLOPE = 5e-2
"""What a slope may be off by beyond its own doubt, of the magnitude of the column."""
DOUBTS = 10
"""Of the doubt, for kinks on both sides of 0 can bend f in opposition, unseen by it."""
LEAST = 1e-2
"""Of all that f adds up: a column that cancels to less is known only as well as f itself."""
TELLING = 0.05
"""A slope that may be off by more than this, of the same, tells nothing."""
ENOUGH = 0.2
"""Of that: no better one is looked for."""


_KEPT = (manifest.SCORE, manifest.EXPLAINED, manifest.CONTRIBUTIONS)


@dataclass(frozen=True, eq=False)
class _Pass:
    """All images through both models, once.

    Attributes:
        results: what the instrumented model puts out that is small, run by run.
        faults: of shapes.
        gaps: by the name of an original output, the largest between the models.
    """

    results: list[dict[str, Array]]
    faults: list[str]
    gaps: dict[str, float]


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Both models, and the inputs of every run."""

    found: Manifest
    model: Graph
    source: Graph
    runs: Sequence[Mapping[str, Array]]
    draws: np.random.Generator

    def checks(self, *, gradients: bool) -> list[Check]:
        """All of them, or those that need neither slopes nor tangents, in order."""
        shapes = self._shapes()
        if shapes.outcome != "passed":
            return [shapes]
        checks = [shapes, self._outputs(), self._tensors(), self._score(), self._completeness()]
        return [*checks, *self._slopes(), *self._gradients()] if gradients else checks

    def _gradients(self) -> list[Check]:
        """On the first images, of each check the worst."""
        found: dict[str, list[Check]] = {}
        for index in range(len(self.runs)):
            run, seed = self.runs[index], self.seeds[index]
            count = len(run[self.found.fed])
            large = run[self.found.fed][0].size > feeding.LARGE
            most = feeding.FEWER if large else feeding.DRAWN
            if (index + 1) * count > most and index:
                break
            feeds = dict(run)
            if not self._fixed_batch and count > most:
                part = slice(most)
                feeds = {k: a[part] if a.ndim and len(a) == count else a for k, a in run.items()}
                seed = None if seed is None else seed[part]
            near = Gradients(self.found, self.model, self.source, feeds, seed, self.draws)
            for check in near.checks():
                found.setdefault(check.name, []).append(check)
        return [worst_of(checks) for checks in found.values()]

    @property
    def _fixed_batch(self) -> int:
        """The batch that the source is fixed to, 0 where it is open."""
        dims = self.source.inputs[self.found.fed].type.tensor_type.shape.dim
        fixed: int = dims[0].dim_value
        return fixed

    @cached_property
    def _session(self) -> Any:
        return open_graph(self.model.proto, optimised=True)

    @cached_property
    def seeds(self) -> list[Array | None]:
        """A cotangent for every run, None where a target is explained."""
        if not self.found.seed:
            return [None] * len(self.runs)
        return [
            self.draws.standard_normal(y.shape).astype(y.dtype) for y in self._explained_tensors
        ]

    def feeds(self, index: int, target: Array | None = None) -> dict[str, Array]:
        """Of the instrumented model."""
        fed = dict(self.runs[index])
        seed = self.seeds[index]
        if seed is not None:
            fed[manifest.SEED] = seed
        elif target is not None:
            fed[manifest.TARGET] = target
        elif self.found.runtime != "ort":
            fed[manifest.TARGET] = np.array([manifest.PREDICTED])
        return fed

    @property
    def results(self) -> list[dict[str, Array]]:
        """Score, target and contributions of the instrumented model, of the predicted class."""
        return self._pass.results

    @cached_property
    def _pass(self) -> _Pass:
        """Nothing of it that is of an image's size is kept: the images may be many."""
        original = open_graph(self.source.proto, optimised=True)
        names = list(self.source.outputs)
        found = _Pass([], [], dict.fromkeys(names, 0.0))
        for index, run in enumerate(self.runs):
            ours = run_session(self._session, self.feeds(index))
            expected = run_session(original, run, names)
            found.faults.extend(self._shape_faults(run, ours, self._explained_tensors[index]))
            for name in names:
                gap = apart(ours[name], expected[name])
                found.gaps[name] = largest((gap, found.gaps[name]))
            found.results.append({name: ours[name] for name in _KEPT if name in ours})
        return found

    @cached_property
    def _explained_tensors(self) -> list[Array]:
        graph = self.source if self.found.output in self.source.makers else self.model
        name = self.found.output
        session = open_graph(graph.with_outputs([name]), optimised=True)
        return [run_session(session, run, [name])[name] for run in self.runs]

    @property
    def tolerance(self) -> float:
        """Of outputs."""
        return OUTPUTS[self.found.precision]

    # --- shapes -------------------------------------------------------------------------------

    def _shapes(self) -> Check:
        """Whether what comes out has the shapes of the contract."""
        return structure.decided("shapes", iter(self._pass.faults), "as the contract has them")

    def _shape_faults(
        self, run: Mapping[str, Array], found: Mapping[str, Array], y: Array
    ) -> Iterator[str]:
        """Of one run's outputs, and its explained tensor."""
        images = run[self.found.fed]
        n = len(images)
        if y.size % n:
            yield f"`{self.found.output}` has {y.size} entries for {n} images"
        yield from self._score_faults(y.size // n)
        wanted: dict[str, tuple[int, ...]] = {
            manifest.SCORE: (n,),
            manifest.EXPLAINED: (n,),
            manifest.CONTRIBUTIONS: (n, 1 + len(self.found.sites)),
        }
        for name, array in found.items():
            if array.shape != wanted.get(name, array.shape):
                yield f"`{name}` is {array.shape} for {n} images, not {wanted[name]}"
            if name == manifest.SALIENCY and array.shape != (n, 1, *self._grid(images)):
                yield f"`{name}` is {array.shape} for {self.found.layout} images {images.shape}"
            if name == manifest.INPUT_GRADIENT and array.shape[:1] != (n,):
                yield f"`{name}` is {array.shape} for {n} images"
        explained = found.get(manifest.EXPLAINED)
        if explained is not None and not ((explained >= 0) & (explained < y.size // n)).all():
            yield f"`{manifest.EXPLAINED}` is {explained.tolist()} of {y.size // n} scores"

    def _score_faults(self, count: int) -> Iterator[str]:
        """What the manifest says of an image's scores, where it says it."""
        found = self.found
        if found.scores is not None and found.scores != count:
            yield f"the manifest knows {found.scores} scores, and there are {count}"
        dims = [dim for dim in found.score_shape or () if isinstance(dim, int)]
        whole = found.score_shape is not None and len(dims) == len(found.score_shape)
        if whole and math.prod(dims) != count:
            yield f"the manifest knows scores of shape {found.score_shape}, and there are {count}"
        axes = (*((found.class_axis,) if found.class_axis is not None else ()),
                *(found.score_grid or ()))  # fmt: skip
        rank = len(found.score_shape or ())
        if len(set(axes)) < len(axes) or not all(0 <= axis < rank for axis in axes):
            yield f"scores of shape {found.score_shape} have no axes {axes}"

    def _grid(self, images: Array) -> tuple[int, ...]:
        """The sizes of what the manifest takes for the images' grid."""
        layout = self.found.layout or ""
        places = (i for i, letter in enumerate(layout) if letter in "dhwl")
        return tuple(images.shape[i] for i in places if i < images.ndim)

    # --- outputs ------------------------------------------------------------------------------

    def _outputs(self) -> Check:
        worst, where = worst_gap(self._pass.gaps)
        if not worst <= self.tolerance:
            # The runtime's optimisations may move a model's outputs further than that: then both
            # as they are written count.
            worst, where = self._outputs_as_written()
        detail = f"{len(self.source.outputs)} outputs" + (f", worst `{where}`" if worst else "")
        return measured("outputs", worst, self.tolerance, detail)

    def _outputs_as_written(self) -> tuple[float, str]:
        names = list(self.source.outputs)
        sessions = [open_graph(g.proto, optimised=False) for g in (self.source, self.model)]
        gaps = dict.fromkeys(names, 0.0)
        for index, run in enumerate(self.runs):
            expected = run_session(sessions[0], run, names)
            found = run_session(sessions[1], self.feeds(index), names)
            for name in names:
                gaps[name] = largest((gaps[name], apart(found[name], expected[name])))
        return worst_gap(gaps)

    def _tensors(self) -> Check:
        """What nodes make that were rewritten, by the bodies of functions or for a newer opset."""
        names = structure.rewritten(self.found, self.model, self.source)
        if not names:
            return Check("tensors", "not applicable", "no node of the source was rewritten")
        expected = run_tensors(self.source, self.runs[0], names)
        ours = run_tensors(self.model, self.feeds(0), names)
        worst, where = worst_gap({name: apart(ours[name], expected[name]) for name in names})
        detail = f"{len(names)} tensors of rewritten nodes, worst `{where}`"
        return measured("tensors", worst, self.tolerance, detail)

    # --- the explained scalar -----------------------------------------------------------------

    def _score(self) -> Check:
        """``fg_score`` and ``fg_explained`` against the explained tensor of the source."""
        deviations = []
        for index, y in enumerate(self._explained_tensors):
            found = self.results[index]
            rows = y.reshape(len(found[manifest.SCORE]), -1).astype(np.float64)
            seed = self.seeds[index]
            if seed is not None:
                expected = (rows * seed.reshape(rows.shape)).sum(1)
                scale = np.abs(rows * seed.reshape(rows.shape)).sum(1).max()
                gap = np.abs(found[manifest.SCORE] - expected).max()
                deviations.append(gap / (scale or 1.0))
                continue
            scale = np.abs(rows).max() or 1.0
            for target in self._targets(index, rows.shape[1]):
                given = (
                    found if target is None else run_session(
                        self._session, self.feeds(index, target),
                        [manifest.SCORE, manifest.EXPLAINED],
                    )
                )  # fmt: skip
                explained = given[manifest.EXPLAINED]
                if explained.min() < 0 or explained.max() >= rows.shape[1]:
                    return Check("score", "failed", f"`fg_explained` is {explained.tolist()}")
                score = np.take_along_axis(rows, explained[:, None], axis=1)[:, 0]
                gaps = [np.abs(given[manifest.SCORE] - score).max()]
                if target is None:  # the predicted class: none scores more, up to rounding
                    gaps.append((rows.max(1) - score).max())
                elif not np.array_equal(explained, target):
                    return Check("score", "failed", "`fg_explained` is not `fg_target`")
                deviations += [gap / scale for gap in gaps]
        what = (
            "of a cotangent"
            if self.found.seed
            else "of the predicted, the first, the last and another class"
        )
        detail = f"f(x) {what}, of the largest score"
        return measured("score", largest(deviations), self.tolerance, detail)

    def _targets(self, index: int, count: int) -> list[Array | None]:
        predicted = self.results[index][manifest.EXPLAINED]
        other = (predicted + 1 + self.draws.integers(0, max(count - 1, 1))) % count
        return [None, other, np.zeros_like(predicted), np.full_like(predicted, count - 1)]

    def _completeness(self) -> Check:
        if "contributions" not in self.found.emits:
            return Check("completeness", "not applicable", "the model emits no contributions")
        residuals = np.concatenate([residual for _, residual in self._totals])
        detail = f"row sums of the contributions against f(x), the worst of {len(residuals)} images"
        return measured("completeness", largest(residuals), RESIDUALS[self.found.precision], detail)

    @cached_property
    def _totals(self) -> list[tuple[Array, Array]]:
        """Run by run, the sums of the contributions and how far they are from the score."""
        found = []
        for result in self.results:
            table = result[manifest.CONTRIBUTIONS].astype(np.float64)
            total, scale = table.sum(1), np.abs(table).sum(1)
            gap = np.abs(total - result[manifest.SCORE])
            found.append((total, gap / np.where(scale > 0, scale, 1.0)))
        return found

    def per_image(self, names: Sequence[str]) -> Iterator[ImageResult]:
        """Score and completeness of every image; nothing where the shapes are wrong."""
        if self._pass.faults:
            return
        each = iter(names)
        complete = "contributions" in self.found.emits
        for index, result in enumerate(self.results):
            explained = result.get(manifest.EXPLAINED)
            for row, score in enumerate(result[manifest.SCORE].tolist()):
                target = None if explained is None else int(explained[row])
                total = residual = holds = None
                if complete:
                    total, residual = (float(part[row]) for part in self._totals[index])
                    holds = residual <= RESIDUALS[self.found.precision]
                yield ImageResult(next(each), target, score, total, residual, holds)

    # --- slopes -------------------------------------------------------------------------------

    def _slopes(self) -> list[Check]:
        names = ("input-slope", "bias-slopes")
        if "contributions" not in self.found.emits:
            return [
                Check(name, "not applicable", "the model emits no contributions") for name in names
            ]
        if any(node.op_type == "QuantizeLinear" for node in self.source.proto.graph.node):
            why = "the model is quantised: f is a staircase, and its gradients go straight through"
            return [Check(name, "not applicable", why) for name in names]
        columns = {
            0: self.found.input if self.found.pixels is None else None,
            **{
                1 + i: site.promoted_input
                for i, site in enumerate(self.found.sites)
                if site.promoted_input is not None
            },
        }
        session = open_graph(self.model.with_outputs([manifest.SCORE]), optimised=True)
        table = self.results[0][manifest.CONTRIBUTIONS].astype(np.float64)
        fed = self.feeds(0, self.results[0].get(manifest.EXPLAINED))
        if self.runs[0][self.found.fed][0].size > feeding.LARGE and not self._fixed_batch:
            fed = {k: a[:1] if a.ndim and len(a) == len(table) else a for k, a in fed.items()}
            table = table[:1]
        checks = []
        for name, indices in (("input-slope", [0]), ("bias-slopes", sorted(columns)[1:])):
            named = {i: columns[i] for i in indices if columns[i] is not None}
            if not named:
                why = "no bias is promoted"
                if name == "input-slope":
                    why = "the input is of whole numbers, which cannot be varied a little"
                checks.append(Check(name, "not applicable", why))
                continue
            checks.append(self._slope_check(name, session, fed, named, table))
        return checks

    def _slope_check(
        self,
        name: str,
        session: Any,
        fed: Mapping[str, Array],
        named: Mapping[int, str | None],
        table: Array,
    ) -> Check:
        scale = np.abs(table).sum(1)
        middle = run_session(session, fed, [manifest.SCORE])[manifest.SCORE].astype(np.float64)
        worst, where, untold = 0.0, "", 0
        for column, promoted in named.items():
            assert promoted is not None
            f = self._along(session, fed, promoted)
            size = np.maximum(np.abs(table[:, column]), LEAST * scale)
            enough = ENOUGH * TELLING * size
            found = slope(f, middle, scale, enough, UNITS[self.found.precision])
            told = found.doubt <= TELLING * size
            untold += int((~told).sum())
            if not told.any():
                continue
            gap = np.abs(found.derivative - table[:, column])[told]
            room = (DOUBTS * found.doubt + SLOPE * size)[told]
            # a wrong column is wrong in most images; kinks near 0, such as a constant background
            # has at many positions at once, put single ones off
            over = float(np.median(gap / np.where(room > 0, room, 1e-30)))
            if over > worst or np.isnan(over):
                worst, where = over, promoted
        count = len(named) * len(table)
        detail = f"{count - untold} of {count} slopes told"
        detail += f", worst at `{where}`" if where else ""
        if untold == count:
            why = "kinks and rounding leave no step that tells a slope; see `gradients`"
            return Check(name, "not applicable", why)
        detail += "; 1 is as much as the differences' own doubt allows"
        return measured(name, worst, 1.0, detail)

    def _along(self, session: Any, fed: Mapping[str, Array], name: str) -> Callable[[float], Array]:
        value = fed[name] if name in fed else self.model.constant(name)
        assert value is not None

        def at(t: float) -> Array:
            changed = np.asarray(value * np.float64(1 + t)).astype(value.dtype)
            score = run_session(session, {**fed, name: changed}, [manifest.SCORE])[manifest.SCORE]
            return score.astype(np.float64)

        return at


def apart(ours: Array, theirs: Array) -> float:
    """The largest difference, of the largest entry; infinite for another shape or type."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return float("inf")
    if not ours.size or np.array_equal(ours, theirs):
        return 0.0
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))  # infinities too
    gap = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)).max()
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return float(gap / scale) if scale else float(gap)
