"""A YAML file of settings, held to its published JSON Schema; a fault is named by line and key."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fg_onnx.errors import InputError, RuntimeMissingError
from fg_onnx.plain_yaml import Place, PlainYamlError, read_plain, shown

Fault = tuple[Place, str]


@cache
def read_schema(name: str, package: str = "fg_onnx.audit") -> dict[str, Any]:
    """A published JSON Schema (draft 2020-12) that lies in a package."""
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def with_defaults(given: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every check of a policy that is on, with all its settings that are given or have a default.

    Args:
        given: of some checks the settings, or False.
        schema: of all checks.
    """
    found = {}
    for name, about in schema["properties"].items():
        chosen = given.get(name, about.get("default", {}))
        if chosen is not False:
            found[name] = {**default_settings(schema, name), **chosen}
    return found


def default_settings(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a check that have a default."""
    known = schema["properties"][name]["anyOf"][1]["properties"]
    return {key: each["default"] for key, each in known.items() if "default" in each}


def read_settings(path: Path, schema: Mapping[str, Any], what: str, hint: str) -> dict[str, Any]:
    """The settings in a file; none in an empty one.

    Args:
        path: of the file.
        schema: to which it is held.
        what: it is, in messages and, after ``bad-``, in the error's code.
        hint: where its keys are described.

    Raises:
        InputError: ``bad-WHAT``: it cannot be read, or does not follow the schema; the first fault
            is named.
        RuntimeMissingError: ``no-jsonschema``.
    """

    def bad(reason: str, line: int | None = None) -> InputError:
        at = "" if line is None else f", line {line}"
        return InputError(f"bad-{what}", f"the {what} `{path}`{at}: {reason}", hint)

    try:
        held = read_plain(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise bad(f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise bad("it is not text in UTF-8") from error
    except PlainYamlError as error:
        raise bad(error.reason, error.line) from error
    value = {} if held.value is None else held.value
    named = sorted((held.lines[place], place, reason) for place, reason in faults(value, schema))
    for line, place, reason in named:
        raise bad(f"`{'.'.join(map(str, place)) or 'all of it'}`: {reason}", line)
    assert isinstance(value, dict)
    return value


def faults(value: Any, schema: Mapping[str, Any]) -> Iterator[Fault]:
    """Where a value does not follow a schema, and how.

    Raises:
        RuntimeMissingError: ``no-jsonschema``.
    """
    try:
        # untyped
        jsonschema: Any = importlib.import_module("jsonschema")
    except ImportError as missing:
        raise RuntimeMissingError(
            "no-jsonschema",
            "jsonschema, which checks settings, is not installed",
            'pip install "fg-onnx[audit]"',
        ) from missing
    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        yield from _told(error)


def _told(error: Any) -> Iterator[Fault]:
    """A fault as a person needs it: at the place itself, of what was meant, with what is known."""
    place = tuple(error.absolute_path)
    if error.validator == "anyOf":  # `false`, or a mapping: what is not false is meant to be one
        last = len(error.validator_value) - 1
        for each in error.context:
            if each.relative_schema_path[0] == last:
                yield from _told(each)
    elif error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        for key in sorted(set(error.instance) - set(known)):
            yield (*place, key), f"there is no such key; the known ones are: {', '.join(known)}"
    elif error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        yield place, f"`{missing[0]}` is missing, and without it nothing is checked"
    elif error.validator == "type":
        yield place, f"it is {shown(error.instance)}, and {_WORDS[error.validator_value]} is wanted"
    else:
        yield place, error.message


_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping of keys",
    "string": "text",
}
