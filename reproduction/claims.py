"""Claim after claim: what the paper says, and which experiment answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fg_onnx.evaluate.curves import Curve, Panel
from reproduction.comparing import compare
from reproduction.experiments import FULLGRAD, styles
from reproduction.page import Page
from reproduction.running import Finding
from reproduction.sizes import Size
from reproduction.tables import difference_of, markdown

REFERENCE, SIGNED, ABS = styles("reference", "signed", "abs")
NETS = ("fashion", "squeezenet", "efficientnet")
BLIND = ("input-gradient", "gradient-x-input", "guided-backprop")
"""Methods whose maps are made of input-gradients alone, which Example 2 is about."""
_CHANGED = 0.5  # a rank correlation below it shares less than a quarter of the ranks' variance
_SEVERAL = 2


def write(page: Page, findings: Mapping[str, Finding], size: Size) -> None:
    """All claims onto the page, in the paper's order."""
    _bias_insensitivity(page, findings)
    _randomisation(page, findings)
    _perturbation(page, findings)
    _roar(page, findings)
    _styles(page, findings)
    _flipping(page, findings, size)


def _bias_insensitivity(page: Page, findings: Mapping[str, Finding]) -> None:
    says = "Input-gradients do not see small changes of the biases, full-gradients do"
    page.section(
        "Section 4.1, Example 2: insensitivity to biases",
        "The paper: input-gradients, and what is made of them, are insensitive to small changes "
        "of a bias inside a network; full-gradients are sensitive to every parameter that affects "
        "the function. Here noise of rising size is added to all biases at once, through the "
        "inputs that the instrumented model has for them. Counted are the images whose map is the "
        "same to the last bit. It agrees if at the smallest noise the maps of FullGrad change in "
        "more images than those of every method by input-gradients alone. Larger noise makes "
        "activations change sides, which is another linear region, and is outside the claim.",
    )
    for name in ("fashion", "squeezenet"):
        finding = findings[f"random-{name}"]
        panel = _panel(finding, "biases", "|change of the map| / |map|")
        score = _panel(finding, "biases", "|change of the score| / |score|").curves[0]
        same = {curve.method: _share_unchanged(curve) for curve in (*panel.curves, score)}
        heads = ["method", *(f"{point:g}" for point in panel.points)]
        rows = [[f"`{method}`", *(f"{s:.0%}" for s in shares)] for method, shares in same.items()]
        seeing = all(same[FULLGRAD][0] < same[method][0] for method in BLIND)
        head = "**Agrees**" if seeing else "**Does not agree**"
        shares = [f"{same[each][0]:.0%} (`{each}`)" for each in (*BLIND, FULLGRAD)]
        numbers = f"{', '.join(shares[:-1])} and {shares[-1]}"
        page.finding(
            finding,
            "images whose map is unchanged, by the noise on all biases over their root mean square",
            markdown(heads, rows),
        )
        page.conclude(
            f"{says}: {finding.experiment.title}",
            f"{head}: at the smallest noise the map stays the same in {numbers} of the images. "
            f"{_where_it_turns(panel)}",
        )


def _where_it_turns(panel: Panel) -> str:
    """From which noise on an input-gradient's map changes more than FullGrad's."""
    blind, seeing = (_curve(panel, method).mean for method in (BLIND[0], FULLGRAD))
    more = [point for point, a, b in zip(panel.points, blind, seeing, strict=True) if a > b]
    if not more:
        return f"At no noise does the map of `{BLIND[0]}` change more than FullGrad's."
    return f"From {more[0]:g} on the map of `{BLIND[0]}` changes more, relative to itself."


def _share_unchanged(curve: Curve) -> list[float]:
    return [float(np.mean(column == 0)) for column in curve.values.T]


def _randomisation(page: Page, findings: Mapping[str, Finding]) -> None:
    page.section(
        "Section 4.1: sensitivity to randomised parameters",
        "The paper, after Adebayo et al. 2018: a map has to change with the parameters. Layers are "
        "randomised from the output down, and the maps compared by their ranks. It agrees if in "
        "the end, with every layer randomised, FullGrad's mean rank correlation is below "
        f"{_CHANGED}. A map that is multiplied by the image, or lies on an image that is mostly "
        "black, keeps a part of its ranks whatever the network: `gradient-x-input` shows how much.",
    )
    for name in ("fashion", "squeezenet"):
        finding = findings[f"random-{name}"]
        panel = _panel(finding, "cascading", "rank correlation")
        page.show(finding, panel, f"random-{name}-cascading")
        curve = _curve(panel, FULLGRAD)
        mean, error = float(curve.mean[-1]), float(curve.standard_error[-1])
        head = "**Agrees**" if mean < _CHANGED else "**Does not agree**"
        page.conclude(
            f"FullGrad changes when all parameters do: {finding.experiment.title}",
            f"{head}: a rank correlation of {mean:.2f} ± {error:.2f} is left.",
        )


def _perturbation(page: Page, findings: Mapping[str, Finding]) -> None:
    page.section(
        "Section 5.1, Figure 2a: pixel perturbation",
        "The paper: when the least salient pixels are replaced by black, FullGrad changes the "
        "score of the predicted class the least, compared with Grad-CAM, input-gradients, "
        "smooth-grad and integrated gradients; random removal is the baseline. The lower the "
        "better.\n\nIntegrated gradients from black give exactly 0 to a black pixel, and "
        "replacing that by black changes nothing: where much of an image is black, as in "
        "Fashion-MNIST and MNIST, this measure and that method agree by construction, and so do, "
        "in part, all maps that are multiplied by the image.",
    )
    for name in NETS:
        page.claim(
            "FullGrad moves the score least",
            findings[f"least-{name}"],
            FULLGRAD,
            _others(findings[f"least-{name}"], FULLGRAD),
            "lower",
        )
    page.section(
        "Section 5.1: the most salient pixels",
        "The paper: with the most salient pixels removed, several methods are as good as random "
        "removal, for the artifacts confuse the network, so that this is no way to tell them "
        f"apart. It agrees if at least {_SEVERAL} methods do not differ from random removal.",
    )
    for name in NETS:
        finding = findings[f"most-{name}"]
        panel = finding.results.panels[0]
        found = [
            compare(panel, method, ["random"], "higher")[0] for method in _others(finding, "random")
        ]
        methods = _others(finding, "random")
        alike = [m for m, each in zip(methods, found, strict=True) if each.outcome != "better"]
        page.show(finding, panel, f"most-{name}")
        head = "**Agrees**" if len(alike) >= _SEVERAL else "**Does not agree**"
        page.conclude(
            f"With the most salient pixels removed, several methods are no better than chance: "
            f"{finding.experiment.title}",
            f"{head}: {', '.join(f'`{each}`' for each in alike) or 'none'} of {len(methods)}.",
        )


def _roar(page: Page, findings: Mapping[str, Finding]) -> None:
    page.section(
        "Section 5.2, Figure 2b: remove and retrain",
        "The paper: with the most salient pixels removed from the whole data set, a network that "
        "is trained from scratch on what is left has the lowest accuracy by FullGrad, compared "
        "with Grad-CAM, input-gradients, integrated gradients and smooth-grad squared. The lower "
        "the better. A row is a seed: the standard error is over trainings, of one set of "
        "images.\n\nThe class that is explained is the one that the model predicts. Where pixels "
        "are missing tells of it, the more so the more of a map is one place, and a network that "
        "is trained on less than the model was can learn from that what the model knew: its "
        "accuracy may then be above that on whole images, and random removal, which tells "
        "nothing, be hard to beat. It is the drawback that the paper's section 2 names. Black "
        "hides the missing pixels in the black background of these images; the mean colour, as "
        "Hooker et al. replace pixels, shows them.",
    )
    for replace in ("black", "mean"):
        finding = findings[f"roar-{replace}"]
        page.claim(
            "FullGrad leaves the least to learn from",
            finding,
            FULLGRAD,
            _others(finding, FULLGRAD),
            "lower",
        )


def _styles(page: Page, findings: Mapping[str, Finding]) -> None:
    page.section(
        "Section 6: psi and pixel perturbation",
        "The paper: psi = `signed` (bilinear upsampling alone) is worse on pixel perturbation than "
        "the psi that it proposes, and on MNIST, but not on ImageNet, `abs` works much better.",
    )
    for name in NETS:
        finding = findings[f"psi-{name}"]
        page.claim(
            "The proposed psi is better than `signed` on pixel perturbation",
            finding,
            REFERENCE,
            [SIGNED],
            "lower",
            shown=_others(finding, REFERENCE),
        )
    page.claim(
        "`abs` is better than the proposed psi on pixel perturbation",
        findings["psi-digits"],
        ABS,
        [REFERENCE],
        "lower",
        shown=_others(findings["psi-digits"], ABS),
    )


def _flipping(page: Page, findings: Mapping[str, Finding], size: Size) -> None:
    page.section(
        "Section 6: digit flipping",
        "The paper, after Shrikumar et al. 2017: to turn an 8 into a 3, the pixels that speak for "
        "8 and against 3 are removed. FullGrad's proposed psi does not work well here, and "
        "`signed` works much better. Measured is the change of the log-odds; the higher the "
        "better.",
    )
    first, *more = [findings[f"flip-{source}-{target}"] for source, target in size.pairs]
    page.claim(
        "`signed` flips digits better than the proposed psi",
        first,
        SIGNED,
        [REFERENCE],
        "higher",
        shown=_others(first, SIGNED),
    )
    rows = []
    for finding in more:
        odds, flipped = finding.results.panels
        (found,) = compare(odds, SIGNED, [REFERENCE], "higher")
        last = [f"{_curve(flipped, each).mean[-1]:.0%}" for each in (SIGNED, REFERENCE)]
        rows.append([odds.title, difference_of(found), *last])
    heads = ["pair", "signed minus reference", "flipped by signed", "flipped by reference"]
    page.note(
        f"Other pairs, and the share of images that flip in the end:\n\n{markdown(heads, rows)}"
    )


def _others(finding: Finding, method: str) -> list[str]:
    """The methods of an experiment apart from one."""
    curves = finding.results.panels[0].curves
    return [each.method for each in curves if each.method != method]


def _panel(finding: Finding, title: str, quantity: str) -> Panel:
    panels: Sequence[Panel] = finding.results.panels
    return next(each for each in panels if (each.title, each.quantity) == (title, quantity))


def _curve(panel: Panel, method: str) -> Curve:
    return next(each for each in panel.curves if each.method == method)
