"""docs/reproduction.md: the paper's claims, what came out, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence

from fg_onnx.evaluate.curves import Panel
from reproduction.comparing import Better, Comparison, compare, verdict
from reproduction.experiments import command_of
from reproduction.running import Finding
from reproduction.tables import table_of

PICTURES = "images/reproduction"

_HEAD = """# Reproduction

What sections 4 to 6 of Srinivas & Fleuret, NeurIPS 2019, say, and what came out here. Written by
`make reproduce`; every number comes from an `fg-onnx evaluate` command, which is shown.

The paper's data and networks are not to be had freely. Instead of ImageNet and VGG-16 there are
{photographs} photographs of things and animals with two networks trained on ImageNet, instead of
CIFAR-100 there is Fashion-MNIST with a narrow 9-layer VGG with BatchNorm. What follows holds for
these networks and images, and of others it says nothing. All commands together took {minutes:.0f}
minutes.

**How it is judged.** An image's curve is averaged over the points, and two methods are compared on
the same images: the mean difference, its standard error (±), and whether 0 lies outside the 95 %
interval of Student's t. Nothing is corrected for the number of comparisons: of twenty, one is
expected to differ by chance. By that rule the program that writes this page decides whether a claim
agrees.

| claim | outcome |
|---|---|
{summary}

{figures}"""

_FIGURES = f"""## Figure 1: bias-gradients layer by layer

The paper: no intermediate layer demarcates the object satisfactorily, the full map does.

![Maps of single layers and the FullGrad map of three photographs]({PICTURES}/figure1.jpg)

EfficientNet-Lite0, psi = `reference`; every map is scaled by itself. A layer is a site of the
decomposition: a bias, or the implicit bias of a ReLU6 at its upper bound.

## Figure 3: methods side by side

The paper: input-gradients, integrated gradients and smooth-grad are noisy and follow edges,
Grad-CAM is broad, FullGrad is confined to the object and highlights its interior.

![Five methods on five photographs, EfficientNet-Lite0]({PICTURES}/figure3-efficientnet.jpg)

EfficientNet-Lite0; above each photograph stands the predicted class, which is explained. And by
SqueezeNet 1.1, in whose FullGrad maps the grid of its strided layers shows:

![Five methods on five photographs, SqueezeNet]({PICTURES}/figure3-squeezenet.jpg)

Seen, and not measured: on EfficientNet-Lite0 FullGrad is the sharpest map that fills objects;
on SqueezeNet it is not clearly better than Grad-CAM."""


class Page:
    """The page as it grows, and the outcome of every claim for the table at its top."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._summary: list[tuple[str, str]] = []

    def section(self, title: str, text: str) -> None:
        """A heading with words under it."""
        self._parts += [f"## {title}", text]

    def note(self, text: str) -> None:
        """Words, or a table."""
        self._parts.append(text)

    def claim(
        self,
        says: str,
        finding: Finding,
        method: str,
        rivals: Sequence[str],
        better: Better,
        *,
        shown: Sequence[str] | None = None,
    ) -> None:
        """An experiment, and whether a method beats its rivals in it.

        Args:
            says: the claim.
            finding: the experiment, of which the first quantity counts.
            method: that the claim is about.
            rivals: that it is said to beat.
            better: which values are.
            shown: the methods that the table compares it with; None: the rivals.
        """
        panel = finding.results.panels[0]
        compared = compare(panel, method, rivals if shown is None else shown, better)
        self.show(finding, panel, finding.experiment.name, compared)
        outcome = verdict(compare(panel, method, rivals, better))
        self._parts.append(f"The last column is `{method}` minus the other; {better} is better.")
        self.conclude(f"{says}: {finding.experiment.title}", outcome)

    def show(
        self, finding: Finding, panel: Panel, picture: str, compared: Sequence[Comparison] = ()
    ) -> None:
        """A quantity of an experiment: its command, picture and table."""
        title = finding.experiment.title
        image = f"![{panel.quantity}; {title}]({PICTURES}/{picture}.png)"
        self.finding(
            finding, f"{panel.quantity}, by {panel.axis}", table_of(panel, compared), image
        )

    def finding(self, finding: Finding, quantity: str, table: str, image: str = "") -> None:
        """An experiment: its command, and what was measured."""
        count, unit = len(finding.results.rows), finding.results.unit
        self._parts += [
            f"### {finding.experiment.title}",
            f"```sh\n{command_of(finding.experiment)}\n```",
            *([image] if image else []),
            f"{quantity[0].upper()}{quantity[1:]}; {count} {unit}s, {finding.seconds:.0f} s.",
            table,
        ]

    def conclude(self, says: str, outcome: str) -> None:
        """Whether a claim agrees."""
        self._summary.append((says, outcome))
        self._parts.append(outcome)

    def write(self, photographs: int, seconds: float) -> str:
        """The whole page, of so many photographs and so much time."""
        summary = "\n".join(f"| {claim} | {outcome} |" for claim, outcome in self._summary)
        head = _HEAD.format(
            photographs=photographs, minutes=seconds / 60, summary=summary, figures=_FIGURES
        )
        return "\n\n".join([head.strip(), *self._parts]) + "\n"
