"""What an experiment is given: a plain model, images for it, and methods by name."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fg_onnx.errors import InputError, UnsupportedModelError

from ..method import FULLGRAD, parse_method
from .notes import Notes, listening

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fg_onnx import Instrumented, Preprocessing, Session
    from fg_onnx.evaluate.flipping import Contrast
    from fg_onnx.evaluate.maps import Maps, Tick
    from fg_onnx.evaluate.randomization import FedMaps
    from fg_onnx.evaluate.scorer import Scorer
    from fg_onnx.methods import Explainer

    Array = npt.NDArray[np.generic]


RANDOM = "random"


@dataclass(frozen=True)
class Asked:
    """What is judged, as the command line names it.

    Attributes:
        model: a plain one.
        patterns: files, folders or globs.
        input: the explained input by name, or None.
        output: the explained tensor by name, or None.
        device: where it runs.
        preprocess: a preset or a file, or None.
    """

    model: Path
    patterns: Sequence[str]
    input: str | None
    output: str | None
    device: str
    preprocess: str | None


@dataclass(frozen=True)
class Judged:
    """A model and images for it.

    Attributes:
        asked: what was asked for.
        scorer: the model.
        paths: of the images.
        steps: how they are prepared, None where all are arrays and nothing was said.
        names: of the images that were read, in order.
        notes: what methods have said of their maps.
    """

    asked: Asked
    scorer: Scorer
    paths: Sequence[Path]
    steps: Preprocessing | None
    names: list[str] = field(default_factory=list)
    notes: dict[str, Notes] = field(default_factory=dict)

    def batches(self) -> Iterator[Array]:
        """The images, some at once.

        Raises:
            InputError: a file that cannot be read, does not fit the model or is not finite, or no
                image at all.
        """
        import numpy as np

        from ..given import batches, read_samples

        for batch in batches(read_samples(self.paths, self.scorer.session, self.steps)):
            for sample in batch:
                row = "" if sample.row is None else f"[{sample.row}]"
                name = f"{sample.path}{row}"
                if not np.isfinite(sample.array).all():
                    raise InputError(
                        "not-finite",
                        f"`{name}` holds values that are not finite",
                        "leave the image out, or see what made it",
                    )
                self.names.append(name)
            yield np.concatenate([sample.array for sample in batch])

    def count(self) -> int:
        """How many images there are; every one is read once.

        Raises:
            InputError: as `batches`.
        """
        from ..given import read_samples

        return sum(1 for _ in read_samples(self.paths, self.scorer.session, self.steps))

    def explainer(self, name: str, options: dict[str, Any], model: Any = None) -> Explainer:
        """A method at work on the model, or on another of the same inputs and outputs.

        Raises:
            InputError: there is no such method or option.
            UnsupportedModelError: the model cannot be instrumented.
        """
        from fg_onnx import methods

        return methods.explainer(
            str(self.asked.model) if model is None else model,
            name,
            input=self.asked.input,
            output=self.asked.output,
            device=self.asked.device,
            preprocessing=self.steps,
            **options,
        )

    def open_scores(self, model: Any) -> tuple[Instrumented, Session]:
        """A model of the same inputs and outputs with its biases promoted, ready to run.

        Raises:
            UnsupportedModelError: it cannot be instrumented.
        """
        import fg_onnx

        instrumented = fg_onnx.instrument(
            model, input=self.asked.input, output=self.asked.output, emit=()
        )
        return instrumented, fg_onnx.Session(instrumented, device=self.asked.device)

    def listened(self, text: str, seed: int, model: Any = None) -> FedMaps:
        """A method by its text, what it says of its maps gathered in the notes.

        Raises:
            InputError: as `explainer`.
            UnsupportedModelError: as `explainer`.
        """
        return self._listening(text, self.explainer(*parse_method(text, seed), model=model))

    def _listening(self, text: str, explainer: Explainer) -> FedMaps:
        return listening(explainer, self.notes.setdefault(text, Notes()))

    def maps(self, texts: Sequence[str], seed: int) -> dict[str, Maps]:
        """The methods that were asked for, as experiments take them.

        Raises:
            InputError: as `explainer`.
            UnsupportedModelError: as `explainer`.
        """
        return {text: self.listened(text, seed) for text in texts}

    def contrasts(self, texts: Sequence[str], seed: int) -> dict[str, Contrast]:
        """The same as maps of one class against another, with their sign where they have one.

        FullGrad explains the difference of the two scores itself, by a cotangent; of the other
        methods the maps of the two classes are subtracted, but for random ones, which are the same.

        Raises:
            InputError: as `explainer`.
            UnsupportedModelError: as `explainer`.
        """
        from fg_onnx.evaluate.flipping import alone, difference, seeded
        from fg_onnx.methods import METHODS

        found: dict[str, Contrast] = {}
        for text in texts:
            name, options = parse_method(text, seed)
            if name == FULLGRAD:
                found[text] = seeded(self._open_seeded(options))
                continue
            if name == RANDOM:
                found[text] = alone(self._listening(text, self.explainer(name, options)))
                continue
            if name in METHODS and "signed" in METHODS[name].options():
                options.setdefault("signed", True)
            found[text] = difference(self._listening(text, self.explainer(name, options)))
        return found

    def _open_seeded(self, options: dict[str, Any]) -> Session:
        import fg_onnx
        from fg_onnx.methods.interface import make_method

        method = make_method(FULLGRAD, options)
        instrumented = fg_onnx.instrument(
            str(self.asked.model),
            input=self.asked.input,
            output=self.asked.output,
            emit=method.emit,
            seed=True,
            **method.instrumenting,
        )
        return fg_onnx.Session(instrumented, device=self.asked.device)


def circumstances(scorer: Scorer, steps: Preprocessing | None) -> dict[str, Any]:
    """What every experiment's settings say of the model, and of where it ran."""
    from fg_onnx.runtime import onnxruntime

    return {
        "model_sha256": scorer.manifest.source_sha256,
        "output": scorer.manifest.output,
        "preprocessing": steps.to_dict() if steps else None,
        "runtime": f"onnxruntime {onnxruntime().__version__}",
        "device": scorer.session.device,
    }


def open_scorer(asked: Asked) -> Scorer:
    """Read the model.

    Raises:
        FgOnnxError: it cannot be had, or needs more than images.
    """
    from fg_onnx.evaluate.scorer import Scorer

    scorer = Scorer(str(asked.model), input=asked.input, output=asked.output, device=asked.device)
    if scorer.session.further_inputs:
        further = ", ".join(f"`{name}`" for name in scorer.session.further_inputs)
        raise UnsupportedModelError(
            "more-inputs",
            f"`{asked.model}` is to be fed more than `{scorer.manifest.fed}`: {further}",
            "evaluate takes models of one input: export one with the others fixed",
        )
    return scorer


def open_judged(asked: Asked, *, needs_steps: bool = False) -> Judged:
    """Read the model, and find the images.

    Args:
        asked: what the command line names.
        needs_steps: whether the preprocessing has to be known though all images are arrays.

    Raises:
        FgOnnxError: the model, the images or the preprocessing cannot be had.
    """
    from fg_onnx.samples import is_array

    from ..explain import preprocessing_for
    from ..given import find_samples

    scorer = open_scorer(asked)
    paths = find_samples(asked.patterns, scorer.session)
    known = asked.preprocess is not None
    steps = None
    if known or needs_steps or not all(map(is_array, paths)):
        steps = preprocessing_for(asked.model, scorer.manifest, asked.preprocess)
    return Judged(asked, scorer, paths, steps)


@contextmanager
def progress(label: str, steps: Callable[[], int]) -> Iterator[Tick | None]:
    """What an experiment tells how far it is, where stderr is a terminal.

    Args:
        label: what is done.
        steps: counts what there is to do, which may take time; called for a bar alone.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with typer.progressbar(length=steps(), label=label, file=sys.stderr) as bar:
        yield bar.update


def split_methods(text: str) -> list[str]:
    """The methods ``A,B,...``, each once.

    Raises:
        InputError: ``bad-methods``.
    """
    found = [part.strip() for part in text.split(",")]
    if "" in found or len(set(found)) < len(found):
        raise InputError(
            "bad-methods",
            f"`--methods {text}` is no list of methods, each once",
            "such as fullgrad,fullgrad:psi=abs,input-gradient,random",
        )
    return found


def parse_percents(text: str) -> tuple[float, ...]:
    """Numbers between commas; whether they are sound shares is the experiment's to say.

    Raises:
        InputError: ``bad-percents``.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            "bad-percents", f"`{text}` is no list of numbers", "such as 1,10,50,90"
        ) from error
