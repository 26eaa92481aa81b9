"""Which versions of ONNX's operators this package was written for.

An operator changes with the opsets, and its schema says since when it is as it is. Whatever is
said of an operator here holds for its versions up to `REVIEWED_OPSET`; a newer version may mean
another thing under the same name.
"""

from __future__ import annotations

from functools import cache

from onnx import defs

REVIEWED_OPSET = 28  # raise it when tests/vjps/test_schema_versions.py has named what is new


@cache
def since(op_type: str, opset: int) -> int:
    """The opset that brought the version of an operator which holds at an opset, 0 for none."""
    return defs.get_schema(op_type, opset).since_version if defs.has(op_type, opset) else 0


def is_reviewed(op_type: str, opset: int) -> bool:
    """Whether the version of an operator that holds at an opset is known here."""
    return since(op_type, opset) <= REVIEWED_OPSET
