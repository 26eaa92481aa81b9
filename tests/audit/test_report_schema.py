"""The published JSON Schema: it knows the fields of `Document`, and every document validates."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing
from collections.abc import Mapping

import jsonschema
import pytest

from fg_onnx.audit import document as fields
from fg_onnx.audit.document import SCHEMA_VERSION, Document
from fg_onnx.audit.schema import document_schema
from fg_onnx.cli.console import to_json
from tests.audit import documents

SCHEMA = document_schema()
PARTS = [
    kind
    for kind in vars(fields).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not Document
]
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
NARROWED = {"Picture": "string"}  # what is a plain string or number in Python


def validate(written: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(written))


def test_is_itself_a_schema_of_this_version():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].endswith(f":{SCHEMA_VERSION}")
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_describes_every_part_and_nothing_else():
    assert {kind.__name__ for kind in PARTS} | set(NARROWED) == set(SCHEMA["$defs"])


@pytest.mark.parametrize("kind", [Document, *PARTS], ids=lambda kind: kind.__name__)
def test_has_the_fields_of(kind):
    described = SCHEMA if kind is Document else SCHEMA["$defs"][kind.__name__]
    own = {"schema_version"} if kind is Document else set()
    hints = typing.get_type_hints(kind)
    assert described["additionalProperties"] is False
    assert set(described["properties"]) - own == set(described["required"]) - own == set(hints)
    for name, hint in hints.items():
        assert described["properties"][name]["description"], name
        assert agrees(described["properties"][name], hint), (name, hint)


def agrees(described: dict, hint: typing.Any) -> bool:
    """Whether a schema takes what a type hint says, and no other JSON type."""
    if "$ref" in described:
        name = described["$ref"].rpartition("/")[2]
        return TYPES.get(hint) == NARROWED[name] if name in NARROWED else hint.__name__ == name
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if "enum" in described:
        return (
            origin is typing.Literal and set(described["enum"]) == set(arguments)
        ) or hint is str
    if type(None) in arguments:
        (other,) = (each for each in arguments if each is not type(None))
        if "anyOf" in described:
            kind, none = described["anyOf"]
            return none == {"type": "null"} and agrees(kind, other)
        kind, none = described["type"]
        return none == "null" and agrees({**described, "type": kind}, other)
    if origin is tuple and arguments[-1] is Ellipsis:
        return described["type"] == "array" and agrees(described["items"], arguments[0])
    if origin is tuple:
        items = described["prefixItems"]
        length = described["minItems"], described["maxItems"]
        return length == (len(items), len(items)) and all(
            agrees(item, each) for item, each in zip(items, arguments, strict=True)
        )
    if origin is typing.get_origin(Mapping[str, int]):
        values = described.get("additionalProperties")
        known = agrees(values, arguments[1]) if values else arguments[1] is typing.Any
        return described["type"] == "object" and known
    return described["type"] == TYPES[hint]


@pytest.mark.parametrize("written", ["usual", "empty", "hostile", "broken"])
def test_every_document_validates_and_reads_back(written):
    document = getattr(documents, written)()
    text = to_json(document.to_dict())
    validate(text)
    assert Document.from_dict(json.loads(text)) == document


def test_what_is_no_number_is_null():
    row = documents.row(0, score=float("nan"), residual=float("inf"))
    text = to_json(documents.usual(rows=(row,)).to_dict())
    validate(text)
    (read,) = json.loads(text)["rows"]
    assert read["score"] is None
    assert read["residual"] is None


def wrong_type(found):
    found["images"] = "10"


def unknown_field(found):
    found["findings"][0]["colour"] = "red"


def missing_field(found):
    del found["model"]["sha256"]


def unknown_severity(found):
    found["findings"][0]["severity"] = "fatal"


def remote_picture(found):
    found["rows"][0]["picture"] = "https://example.org/a.png"


def other_version(found):
    found["schema_version"] = 2


@pytest.mark.parametrize(
    "change",
    [wrong_type, unknown_field, missing_field, unknown_severity, remote_picture, other_version],
)
def test_refuses(change):
    found = copy.deepcopy(json.loads(to_json(documents.usual().to_dict())))
    change(found)
    with pytest.raises(jsonschema.ValidationError):
        validate(json.dumps(found))
