"""What of a comparison passes: a YAML file, held to the schema that is published beside this file.

The schema is the one place of the keys, their bounds and their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fg_onnx.audit.settings import read_schema, read_settings, with_defaults

SCHEMA = "policy.schema.json"


@dataclass(frozen=True)
class Policy:
    """A policy.

    Attributes:
        given: the file's content; empty without one.
    """

    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """Every check that is on, with all its settings that were given or have a default."""
        return with_defaults(self.given, schema())

    def with_bounds(self, bounds: Mapping[str, tuple[str, float]]) -> Policy:
        """The same with a bound of some checks, which are on then.

        Args:
            bounds: by the check's name, the key and its value.
        """
        changed = {name: {**(self.given.get(name) or {}), k: v} for name, (k, v) in bounds.items()}
        return Policy({**self.given, **changed})


def schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of a policy."""
    return read_schema(SCHEMA, "fg_onnx.comparison")


def read_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        InputError: ``bad-policy``: it cannot be read, or does not follow the schema; the first
            fault is named with its line and key.
        RuntimeMissingError: ``no-jsonschema``.
    """
    hint = f"docs/compare.md lists every key; the schema is {SCHEMA}"
    return Policy(read_settings(path, schema(), "policy", hint))
