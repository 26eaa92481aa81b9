"""What of an audit passes: a YAML file, held to the schema that is published beside this file.

The schema is the one place of the keys, their bounds and their defaults.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fg_onnx.errors import InputError

SCHEMA = "policy.schema.json"

Place = tuple[str | int, ...]
Fault = tuple[Place, str]

# untyped
yaml: Any = importlib.import_module("yaml")

_DEEPEST = 8  # mappings within mappings, of which three are of use
_MOST_CHARACTERS = 2**20
# numbers as YAML 1.2 has them; PyYAML reads 1e-4 as text
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Policy:
    """A policy.

    Attributes:
        given: the file's content; empty without one.
        checks: by name, what is checked; what is off is left out.
    """

    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """Every check that is on, with all its settings that were given or have a default."""
        found = {}
        for name, about in schema()["properties"].items():
            chosen = self.given.get(name, about.get("default", {}))
            if chosen is not False:
                known = about["anyOf"][1]["properties"]
                defaults = {k: v["default"] for k, v in known.items() if "default" in v}
                found[name] = {**defaults, **chosen}
        return found


@cache
def schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of a policy."""
    text = resources.files("fg_onnx.audit").joinpath(SCHEMA).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def read_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        InputError: ``bad-policy``: it cannot be read, or does not follow the schema; the first
            fault is named with its line and key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise _bad(f"cannot read the policy `{path}`: {reason}") from error
    if len(text) > _MOST_CHARACTERS:
        raise _bad(f"the policy `{path}` is too long")
    lines: dict[Place, int] = {}
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        value = {} if node is None else _value(node, (), lines, set())
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise _bad(f"the policy `{path}` is not YAML: {reason}") from error
    except RecursionError as error:
        raise _bad(f"the policy `{path}` is nested too deeply") from error
    except _FaultError as fault:
        raise _bad(f"the policy `{path}`, line {fault.line}: {fault.reason}") from fault
    for place, reason in faults(value, schema()):
        line = next(lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in lines)
        key = ".".join(map(str, place)) or "all of it"
        raise _bad(f"the policy `{path}`, line {line}, `{key}`: {reason}")
    return Policy(value)


class _FaultError(Exception):
    """What a policy may not hold, and where."""

    def __init__(self, node: Any, reason: str) -> None:
        super().__init__(reason)
        self.line = node.start_mark.line + 1
        self.reason = reason


def _value(node: Any, place: Place, lines: dict[Place, int], seen: set[int]) -> Any:
    """A node as data; no alias, no key twice, nothing nested deeply."""
    lines[place] = node.start_mark.line + 1
    if id(node) in seen:
        raise _FaultError(node, "it is used again further down: write every value out")
    seen.add(id(node))
    if len(place) > _DEEPEST:
        raise _FaultError(node, "it is nested too deeply")
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*place, at), lines, seen) for at, each in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, each in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in found:
                raise _FaultError(key, f"a key is text, and each stands once: {_shown(key.value)}")
            found[key.value] = _value(each, (*place, key.value), lines, seen)
            lines[*place, key.value] = key.start_mark.line + 1
        return found
    if node.style is None and _NUMBER.fullmatch(node.value) and node.tag.endswith(":str"):
        return float(node.value)
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise _FaultError(node, f"{_shown(node.value)} cannot be read") from error


def faults(value: Any, about: Mapping[str, Any], place: Place = ()) -> Iterator[Fault]:
    """Where a value does not follow a schema, and how; of the words that `SCHEMA` uses."""
    if "anyOf" in about:
        branches = [list(faults(value, branch, place)) for branch in about["anyOf"]]
        if all(branches):
            yield from branches[-1]
        return
    if "const" in about and value is not about["const"]:
        yield place, f"it is {_shown(value)}, not {about['const']!r}"
    elif "enum" in about and value not in about["enum"]:
        known = ", ".join(about["enum"])
        yield place, f"it is {_shown(value)}, and one of these is wanted: {known}"
    elif "type" in about and not _TYPES[about["type"]](value):
        yield place, f"it is {_shown(value)}, and {_WORDS[about['type']]} is wanted"
    elif "type" in about:
        yield from _INNER[about["type"]](value, about, place)


def _object_faults(
    value: Mapping[str, Any], about: Mapping[str, Any], place: Place
) -> Iterator[Fault]:
    known = about["properties"]
    for key, each in value.items():
        if key in known:
            yield from faults(each, known[key], (*place, key))
        else:
            yield (*place, key), f"there is no such key; the known ones are: {', '.join(known)}"


def _array_faults(value: Sequence[Any], about: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    if len(value) < about.get("minItems", 0):
        yield place, "the list is empty"
    for at, each in enumerate(value):
        yield from faults(each, about["items"], (*place, at))


def _string_faults(value: str, about: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    if not re.search(about.get("pattern", ""), value):
        yield place, f"{_shown(value)} does not look like {about['pattern']}"


def _number_faults(value: float, about: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    least, most = about.get("minimum", value), about.get("maximum", value)
    if not least <= value <= most:
        bound = f"at least {least:g}" if value < least else f"at most {most:g}"
        yield place, f"{value:g} is out of range: {bound} is wanted"


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return numeric and not math.isnan(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "integer": _is_integer,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}
_INNER: Mapping[str, Callable[..., Iterator[Fault]]] = {
    "array": _array_faults,
    "integer": _number_faults,
    "number": _number_faults,
    "object": _object_faults,
    "string": _string_faults,
}
_WORDS = {
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping of keys",
    "string": "text",
}


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"`{reprlib.repr(value)}`"


def _bad(message: str) -> InputError:
    return InputError(
        "bad-policy", message, "docs/audit.md lists every key; the schema is policy.schema.json"
    )
