"""Which CUDA kernels ONNX Runtime has: read from its wheels' kernel registries, and asked by node.

``data/cuda_kernels.json`` holds the registrations of three onnxruntime-gpu wheels. It was condensed
from listings of all their CUDA kernels, one JSON array a wheel, of entries such as ``{"op": "Abs",
"versions": [6, 12], "types": {"T": ["tensor(float)"]}}``:

    python tests/cuda_kernels.py 1.23.2=kernels.json ...

What is left out: operators of other domains, ranges that end before the versions of the lowest
opset that models are brought to, and the types that no instrumented model has. Registrations that
differ in one type alone are one here.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import defs

from fg_onnx.source.model import LOWEST_OPSET

PATH = Path(__file__).parent / "data" / "cuda_kernels.json"
OPEN = 2**31 - 1
"""The last version of a registration without an end."""
TYPES = {
    *("float", "float16", "bfloat16", "double"),
    *("int8", "uint8", "int32", "int64", "bool"),
}

Constraint = tuple[str, tuple[str, ...]]
Row = tuple[str, int, int, tuple[Constraint, ...]]


@dataclass(frozen=True)
class Registration:
    """One kernel: versions first to last of an operator, and the types it takes.

    Attributes:
        first: of the schema's versions.
        last: of them; `OPEN` where the registration has no end.
        types: by the name of a type constraint of the schema, or of an operand.
    """

    first: int
    last: int
    types: Mapping[str, frozenset[str]]

    def takes(self, since: int, types: Mapping[str, str]) -> bool:
        """Whether it is the kernel of a node whose schema is of a version.

        A registration without an end holds for its first version alone: a newer one of the
        operator may mean another thing.
        """
        versioned = self.first == since or (self.first < since <= self.last < OPEN)
        return versioned and all(
            types[name] in taken for name, taken in self.types.items() if name in types
        )


class Kernels:
    """The CUDA kernels of several runtimes."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.runtimes: tuple[str, ...] = tuple(document["runtimes"])
        self._held: dict[tuple[str, str], list[Registration]] = defaultdict(list)
        for op_type, rows in document["kernels"].items():
            for runtimes, first, last, types in rows:
                taken = {name: frozenset(held.split()) for name, held in types.items()}
                for index in runtimes:
                    key = self.runtimes[index], op_type
                    self._held[key].append(Registration(first, last or OPEN, taken))

    @classmethod
    def load(cls) -> Kernels:
        """Those in the file beside the tests."""
        return cls(json.loads(PATH.read_text()))

    def have(self, runtime: str, op_type: str, since: int, types: Mapping[str, str]) -> bool:
        """Whether a runtime has a CUDA kernel for a node.

        Args:
            runtime: a version of onnxruntime-gpu.
            op_type: of the node.
            since: the version of its schema.
            types: ``float``, ``int64`` ... of its operands and results, by the names that the
                schema gives to them and to their type constraints.
        """
        return any(k.takes(since, types) for k in self._held[runtime, op_type])


# --- condensing ----------------------------------------------------------------------------------


def condense(listings: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
    """The document for the listings of several wheels, by their versions."""
    held: dict[Row, list[int]] = defaultdict(list)
    for index, listing in enumerate(listings.values()):
        for row in _merged({row for entry in listing for row in _rows(entry)}):
            held[row].append(index)
    kernels: dict[str, list[Any]] = defaultdict(list)
    for (op_type, first, last, types), runtimes in sorted(held.items()):
        written = {name: " ".join(taken) for name, taken in types}
        kernels[op_type].append([runtimes, first, None if last == OPEN else last, written])
    return {
        "about": "CUDA kernels of ai.onnx operators, from the kernel registries of the wheels of "
        "onnxruntime-gpu: [indices of runtimes, first version, last version or null for an "
        "open end, types by constraint]. Written by tests/cuda_kernels.py.",
        "runtimes": list(listings),
        "kernels": kernels,
    }


def _rows(entry: Mapping[str, Any]) -> list[Row]:
    op_type, (first, last) = entry["op"], entry["versions"]
    if not defs.has(op_type) or last < _lowest_version(op_type):
        return []
    constraints = []
    for name, types in sorted(entry["types"].items()):
        plain = {t.removeprefix("tensor(").removesuffix(")") for t in types}
        constraints.append((name, tuple(sorted(plain & TYPES))))
    return [(op_type, first, last, tuple(constraints))] if all(t for _, t in constraints) else []


def _lowest_version(op_type: str) -> int:
    if not defs.has(op_type, LOWEST_OPSET):
        return LOWEST_OPSET + 1
    return int(defs.get_schema(op_type, LOWEST_OPSET).since_version)


def _merged(rows: set[Row]) -> set[Row]:
    """Rows that are alike but for the types of one constraint, as one."""
    before = None
    while rows != before:
        before = rows
        for place in range(max(len(row[3]) for row in rows)):
            alike: dict[Any, set[str]] = defaultdict(set)
            for op_type, first, last, types in rows:
                if place < len(types):
                    rest = types[:place], types[place][0], types[place + 1 :]
                    alike[op_type, first, last, rest].update(types[place][1])
            rows = {row for row in rows if place >= len(row[3])} | {
                (*of, (*left, (name, tuple(sorted(taken))), *right))
                for (*of, (left, name, right)), taken in alike.items()
            }
    return rows


def main(arguments: Sequence[str]) -> None:
    """Write the document of ``<version>=<file>`` ..., one operator a line."""
    files = dict(argument.split("=", 1) for argument in arguments)
    document = condense({v: json.loads(Path(path).read_text()) for v, path in files.items()})
    lines = [f'"{op}": {json.dumps(rows)}' for op, rows in document.pop("kernels").items()]
    head = json.dumps(document, indent=1).removesuffix("\n}")
    PATH.write_text(head + ',\n "kernels": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
