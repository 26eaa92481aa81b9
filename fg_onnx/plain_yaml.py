"""YAML as settings need it: plain values with their lines, and nothing that grows beyond its text.

Of YAML (https://yaml.org/spec/1.2.2/) there is no alias, no key twice, no nesting beyond use, and
no number that is not finite. `1e-4` is a number, as in YAML 1.2; PyYAML, of YAML 1.1, reads text.
"""

from __future__ import annotations

import importlib
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Place = tuple[str | int, ...]

_DEEPEST = 8  # mappings within mappings, of which three are of use
_MOST_CHARACTERS = 2**20
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Lined:
    """What a text holds.

    Attributes:
        value: all of it; None if there is nothing.
        lines: from 1, of every place in it; ``()`` is all of it.
    """

    value: Any
    lines: Mapping[Place, int]


class PlainYamlError(Exception):
    """Why a text is not plain YAML.

    Attributes:
        line: from 1; None where it is all of the text.
        reason: a clause.
    """

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def read_plain(text: str) -> Lined:
    """The values in a text, and their lines.

    Raises:
        PlainYamlError: it is not YAML, or holds more than plain values.
    """
    if len(text) > _MOST_CHARACTERS:
        raise PlainYamlError(None, f"it has more than {_MOST_CHARACTERS} characters")
    # imported here, and untyped: only those who write YAML need PyYAML
    yaml: Any = importlib.import_module("yaml")
    lines: dict[Place, int] = {(): 1}
    try:
        _require_shallow(yaml, text)
        node = yaml.compose(text, yaml.SafeLoader)
        value = None if node is None else _value(yaml, node, (), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise PlainYamlError(line, f"it is not YAML: {reason}") from error
    return Lined(value, lines)


def _require_shallow(yaml: Any, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise PlainYamlError(
                line, f"it holds an alias (`*{event.anchor}`): write all values out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise PlainYamlError(line, "it is nested too deeply: write one mapping of keys")


def _value(yaml: Any, node: Any, place: Place, lines: dict[Place, int]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(yaml, each, (*place, at), lines) for at, each in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(yaml, node)
    found: dict[str, Any] = {}
    for key, each in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.value in found:
            raise PlainYamlError(line, f"a key is text, and each stands once: {shown(key.value)}")
        lines[*place, key.value] = line
        found[key.value] = _value(yaml, each, (*place, key.value), lines)
    return found


def _scalar(yaml: Any, node: Any) -> Any:
    line = node.start_mark.line + 1
    if node.style is None and _NUMBER.fullmatch(node.value) and node.tag.endswith(":str"):
        value: Any = float(node.value)
    else:
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:  # a date or a number that is none
            raise PlainYamlError(line, f"{shown(node.value)} cannot be read") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise PlainYamlError(line, f"{shown(node.value)} is not a finite number")
    return value


def shown(value: Any) -> str:
    """A value in a message, however long it is."""
    return "nothing" if value is None else f"`{reprlib.repr(value)}`"
