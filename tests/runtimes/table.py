"""The page that says how far each runtime is from ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fg_onnx.deployment import RUNTIMES

from .agreement import BOUNDS, Agreement
from .models import GIVEN, MODELS
from .runners import RUNNERS

HEAD = """# The same map everywhere

An instrumented model is standard ONNX operators. Here the same models run under several runtimes,
and all that they compute is compared with ONNX Runtime {ort} on the CPU: the source's own outputs,
score, contributions, map, input gradient, layer maps and bias-gradients. `make runtimes` writes
this page; `pytest -m runtimes` checks it.

## What to instrument for

| `--runtime` | runs in | `fg_target` | biases | opset |
|---|---|---|---|---|
{deployments}

Refused by name, as no form of them runs there:

{refusals}

ONNX Runtime in Python, C, C++, C# and Java takes inputs with a default, and that is the default
form. The others do not, and not all say so:

- **onnxruntime-node leaves aside what is fed to an input with a default**, without a word: a model
  in the default form explains the predicted class there, whatever `fg_target` is fed.
  onnxruntime-web fails with `invalid input 'fg_target'`.
- OpenVINO makes constants of such inputs, and TensorRT does not know them: `fg_target` is not
  there.

With `--runtime` biases are constants, and `fg_target` has to be fed: -1 for the predicted class.
OpenVINO moreover goes wrong silently in two places, as of {openvino}:

- **A strided convolution and its adjoint share a weight**: where it has as many input as output
  channels, OpenVINO's CPU plugin computes the gradient by the wrong order of that weight. With
  `--runtime openvino` the adjoint has a copy. **Do not run the default form of such a model
  there.**
- Abs of a vector that is computed from constants is dropped (its issue 38166). No form has one.

OpenVINO computes in bfloat16 where the processor can, unless `INFERENCE_PRECISION_HINT` is `f32`,
as it was here. Every VJP rule was run in it as well (`tests/runtimes/test_openvino_rules.py`): no
gradient is wrong where the source's own operator is right. Some ScatterElements do not load.

## How far apart

- `outputs`: the source's outputs and the score, the largest difference, of the largest value.
  Rounding alone: {outputs:.0e} is allowed.
- `residual`: |f - sum c| / max(|f|, sum |c|), the runtime's own; {residual:.0e}.
- `contributions` ({contributions:.0e}), `map` ({saliency:.0e}), `input` gradient
  ({input_gradient:.0e}), `layers`' maps ({layer_maps:.0e}) and `bias`-gradients
  ({bias_gradients:.0e}): the sum of the differences' magnitudes, of the sum of magnitudes; of
  several tensors the worst.

Rounding moves these by 1e-6. What is above that are kinks: an activation within rounding of 0 falls
to one side in one runtime and to the other in the next, and both are right. ONNX Runtime differs
from itself as much where biases are constants, or the graph is not optimised: DenseNet-121's layer
maps by 1e-2, and by 4e-6 once Softplus is in the place of ReLU and averages in that of maxima. An
operator that is computed otherwise shows as 1e-1 and more.

Forms: `default`, and `--freeze-biases`, of the predicted class; `--runtime` of class {given}.
The Fashion VGG is fed a bag, the others a photograph of a cat; MobileNetV3, ResNet-18 and
DenseNet-121 have random weights.

| runtime | model | form | outputs | residual | contributions | map | input | layers | bias |
|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Line:
    """One model in one runtime: how far apart, or why it was not run."""

    runtime: str
    model: str
    form: str
    found: Agreement | str

    @property
    def failed(self) -> bool:
        """Whether it is out of bounds."""
        return isinstance(self.found, str) or bool(self.found.failures)


def page(lines: Sequence[Line], versions: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        lines: what was run.
        versions: of the runtimes that are here, by name.
        missing: why the others are not.
    """
    head = HEAD.format(
        ort=versions["ort"],
        openvino=RUNTIMES["openvino"].tried,
        deployments="\n".join(deployments()),
        refusals="\n".join(refusals()),
        given=GIVEN,
        **BOUNDS,
    )
    rows = "\n".join(_row(line, versions) for line in lines)
    reasons = "\n".join(f"- {RUNNERS[name].title}: {reason}." for name, reason in missing.items())
    return f"{head}{rows}\n\n## Not run\n\n{reasons}\n"


def deployments() -> Iterator[str]:
    """The rows of what ``--runtime`` writes."""
    where = {
        "ort": "ONNX Runtime in every language but JavaScript",
        "openvino": "OpenVINO",
        "tensorrt": "TensorRT (not tried: by its importer's operator matrix)",
        "web": "onnxruntime-web, onnxruntime-node",
    }
    for name, runtime in RUNTIMES.items():
        target = "has a default" if runtime.defaults else "is to be fed"
        biases = "inputs with a default" if runtime.defaults else "constants"
        opset = f"up to {runtime.newest_opset}" if runtime.newest_opset else "any"
        yield f"| `{name}` | {where[name]} | {target} | {biases} | {opset} |"


def refusals() -> Iterator[str]:
    """What every runtime lacks, operators of one reason together."""
    for runtime in RUNTIMES.values():
        by_reason: dict[str, list[str]] = {}
        for lack in runtime.lacks:
            by_reason.setdefault(lack.reason, []).append(lack.op_type)
        told = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
        if told:
            yield f"- {runtime.version}. {'; '.join(told)}."


def _row(line: Line, versions: Mapping[str, str]) -> str:
    title = f"{RUNNERS[line.runtime].title} {versions[line.runtime]}"
    form = {"default": "default", "frozen": "`--freeze-biases`"}.get(
        line.form, f"`--runtime {RUNNERS[line.runtime].deployed}`"
    )
    cells = [title, MODELS[line.model].title, form]
    if isinstance(line.found, str):
        return f"| {' | '.join(cells)} | {line.found} |{' |' * 6}"
    numbers = [f"{value:.0e}" if value else "0" for value in vars(line.found).values()]
    return f"| {' | '.join([*cells, *numbers])} |"
