"""The Markdown of `python -m benchmarks`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.judged import LIMITS, Judgement, judgements
from benchmarks.methods import (
    AUTHORS,
    BARE,
    FORWARD,
    INSTRUMENTED,
    METHODS,
    RISE_MASKS,
    RISE_MEASURED,
    TORCH_GRADIENT,
)
from benchmarks.results import Cell, Section

_HOW = f"""\
Milliseconds for the whole batch, 224x224: the median of all runs, ± half of the interquartile
range. `instrumented` is what `fg-onnx instrument` writes by default (logits, score, contributions
and map) and run by `fg_onnx.Session`, its own work on arrays included: the biases constants until
one is fed, and a batch in parts side by side (docs/performance.md). `in bare ONNX Runtime` the same
file is run with nothing but the runtime and its defaults, all images at once, as is the source for
`ORT forward`.
efficientnet_lite0 and squeezenet1_1 have real weights, the others random ones of sane scale.

Every method has a process of its own; they take turns in blocks after a warm-up, and all but one
are stopped meanwhile. Ratios are medians over the turns of the ratio within a turn, so that what
slows the machine for a while leaves them alone. `others' CPUs`: how many processors other processes
had on the average meanwhile; where it is far from 0, measure again.

`~`: reckoned in proportion from a part of the work, which is {RISE_MEASURED} of {RISE_MASKS:,}
masks of one image for RISE, 4 images of a larger batch for the authors' algorithm and
pytorch-grad-cam. The authors' code knows no LayerNorm, so that it leaves out those of
convnext_tiny.
"""


def page(sections: Sequence[Section]) -> str:
    """All of it."""
    parts = ["# What a map costs on the CPU\n", "Written by `python -m benchmarks`.\n", _HOW]
    for batch in sorted({section.batch for section in sections}):
        among = [section for section in sections if section.batch == batch]
        parts += [f"## Batch {batch}\n", times(among), "", ratios(among), ""]
    parts += ["## What was aimed at\n", judged(judgements(sections)), ""]
    failed = [
        f"- {section.net}, batch {section.batch}, {METHODS[name].title}: {cell.error}"
        for section in sections
        for name, cell in section.cells.items()
        if cell.error
    ]
    if failed:
        parts += ["## What did not run\n", *failed, ""]
    parts += ["## Where\n", *_where(sections)]
    return "\n".join(parts).rstrip() + "\n"


def times(sections: Sequence[Section]) -> str:
    """Every net's medians, a column for each method that was asked for."""
    methods = [name for name in METHODS if any(name in each.cells for each in sections)]
    rows = [
        [section.net, *(_time(section.cells.get(name, Cell())) for name in methods)]
        for section in sections
    ]
    return _table(["ms", *(METHODS[name].title for name in methods)], rows)


def ratios(sections: Sequence[Section]) -> str:
    """What the aims are set for, net by net."""
    rows = []
    for section in sections:
        limit = LIMITS.get(section.net)
        rows.append(
            [
                section.net,
                _ratio(section.time_ratio(INSTRUMENTED, FORWARD)),
                "-" if limit is None else f"{limit:g}",
                _ratio(section.time_ratio(BARE, FORWARD)),
                _ratio(section.time_ratio(INSTRUMENTED, TORCH_GRADIENT)),
                _ratio(section.time_ratio(AUTHORS, INSTRUMENTED)),
                _ratio(section.memory_ratio(INSTRUMENTED)),
                _ratio(section.size_ratio(INSTRUMENTED)),
                _ratio(section.seconds.get(INSTRUMENTED)),
                _ratio(section.disturbance),
            ]
        )
    head = [
        "ratios",
        "instrumented / ORT forward",
        "limit",
        "bare / ORT forward",
        "instrumented / torch gradient",
        "authors' / instrumented",
        "peak memory / ORT forward",
        "file / source",
        "to instrument, s",
        "others' CPUs",
    ]
    return _table(head, rows)


def judged(found: Iterable[Judgement]) -> str:
    """Every aim with what came of it; nets beyond their limit are bold."""
    rows = []
    for each in found:
        values = [
            f"**{net} {ratio:.2f}**" if net in each.missed else f"{net} {ratio:.2f}"
            for net, ratio in each.counted.items()
        ]
        mean = _ratio(each.geometric_mean) if each.mean is not None else "-"
        rows.append([each.text, ", ".join(values) or "-", mean, each.verdict])
    return _table(["aim", "net by net", "geometric mean", "so it"], rows)


def compared(now: Sequence[Section], then: Sequence[Section]) -> str:
    """now / then of every time in units of its own run's ORT forward, and of size and memory.

    Machines drift, and the plain forward drifts with them; below 1 is faster than then.
    """
    before = {(section.net, section.batch): section for section in then}
    pairs = [
        (each, before[each.net, each.batch]) for each in now if (each.net, each.batch) in before
    ]
    methods = [name for name in METHODS if any(name in each.cells for each, _ in pairs)]
    rows = []
    for each, old in pairs:
        changes = [
            _change(each.time_ratio(name, FORWARD), old.time_ratio(name, FORWARD))
            for name in methods
            if name != FORWARD
        ]
        drift = _change(each.cells[FORWARD].ms, old.cells[FORWARD].ms)
        memory = _change(each.memory_ratio(INSTRUMENTED), old.memory_ratio(INSTRUMENTED))
        size = _change(each.size_ratio(INSTRUMENTED), old.size_ratio(INSTRUMENTED))
        rows.append([each.net, str(each.batch), drift, *changes, memory, size])
    head = ["now / then", "batch", "ORT forward itself"]
    head += [METHODS[name].title for name in methods if name != FORWARD]
    return _table([*head, "peak memory", "file"], rows)


def _change(now: float | None, then: float | None) -> str:
    return f"{now / then:.2f}" if now and then else "-"


def _time(cell: Cell) -> str:
    if cell.ms is None:
        return "failed" if cell.error else "-"
    spread = cell.quartiles
    half = f" ± {_three((spread[1] - spread[0]) / 2)}" if spread else ""
    return f"{'~' if cell.share < 1 else ''}{_three(cell.ms)}{half}"


def _three(value: float) -> str:
    """With a decimal below a hundred."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _where(sections: Iterable[Section]) -> list[str]:
    """Every distinct machine and version once, with what was measured there."""
    groups: dict[str, list[str]] = {}
    for section in sections:
        said = ", ".join(
            f"{key} {value}" for key, value in section.about.items() if key != "command"
        )
        groups.setdefault(said, []).append(f"{section.net} ({section.batch})")
    commands = dict.fromkeys(str(section.about.get("command")) for section in sections)
    lines = [f"- {said}: {', '.join(nets)}" for said, nets in groups.items()]
    return [*lines, "", "```", *commands, "```"]
