"""Promoted biases as constants, by a byte for each of them in a serialized model.

What makes an initializer an input with a default is its entry among ``GraphProto.input``. As an
entry of ``value_info`` the same bytes only tell its type. So a file of any size is closed without
being parsed (https://protobuf.dev/programming-guides/encoding, onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError

from fg_onnx import manifest

_Data: TypeAlias = "bytes | bytearray | mmap.mmap"

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5  # wire types
_GRAPH = 7  # of ModelProto
_INITIALIZER, _INPUT, _VALUE_INFO = 5, 11, 13  # of GraphProto
_TENSOR_NAME, _DATA_LOCATION = 8, 14  # of TensorProto
_VALUE_NAME = 1  # of ValueInfoProto
_LONGEST_NAME = 2**16  # bytes


def closed(data: bytes) -> bytes:
    """A serialized model with its promoted biases as constants of their trained values."""
    changed = bytearray(data)
    for place in _promoted(changed):
        changed[place] = _tag(_VALUE_INFO)
    return bytes(changed)


def closed_file(path: Path) -> str | bytes:
    """The same of a file: its bytes.

    Its path, where it has no promoted biases; where weights lie beside it, which the runtime looks
    for from there; and where it cannot be read, of which the runtime has more to say.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as changed,
        ):
            places = _promoted(changed)
            for place in places:
                changed[place] = _tag(_VALUE_INFO)
            return changed[:] if places else str(path)
    except (OSError, ValueError):  # mmap has a ValueError for an empty file
        return str(path)


def inputs_of(path: Path) -> list[onnx.ValueInfoProto]:
    """The inputs of a file, promoted biases among them; none where it cannot be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return [
                onnx.ValueInfoProto.FromString(data[start:stop])
                for _, number, begin, end in _fields(data, 0, len(data))
                if number == _GRAPH
                for _, inner, start, stop in _fields(data, begin, end)
                if inner == _INPUT
            ]
    except (OSError, ValueError, DecodeError):
        return []


def _promoted(data: _Data) -> Sequence[int]:
    """Where the tags of the inputs of promoted biases stand; none where weights lie beside.

    Raises:
        ValueError: this is no serialized model.
    """
    inputs, trained = {}, set()
    for _, number, begin, end in _fields(data, 0, len(data)):
        if number != _GRAPH:
            continue
        for place, inner, start, stop in _fields(data, begin, end):
            if inner == _INPUT:
                inputs[_content(data, start, stop).get(_VALUE_NAME, b"")] = place
            elif inner == _INITIALIZER:
                tensor = _content(data, start, stop)
                if any(tensor.get(_DATA_LOCATION, b"")):
                    return []
                trained.add(tensor.get(_TENSOR_NAME, b""))
    prefix = manifest.BIAS.encode()
    return [
        place
        for name, place in inputs.items()
        if name.startswith(prefix) and name in trained and data[place] == _tag(_INPUT)
    ]


def _tag(number: int) -> int:
    """Of a field that holds a message, in one byte, as such tags are written below 16."""
    return number << 3 | _LEN


def _content(data: _Data, begin: int, end: int) -> dict[int, bytes]:
    """The short fields of a message by number, those of weights left aside."""
    return {
        number: bytes(data[at:stop])
        for _, number, at, stop in _fields(data, begin, end)
        if stop - at <= _LONGEST_NAME
    }


def _fields(data: _Data, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a message where it begins, its number, and where its content lies.

    Raises:
        ValueError: it is no message.
    """
    at = begin
    while at < end:
        place = at
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == _VARINT:
            _, stop = _varint(data, at, end)
        elif kind == _LEN:
            size, at = _varint(data, at, end)
            stop = at + size
        elif kind in (_I64, _I32):
            stop = at + (8 if kind == _I64 else 4)
        else:
            raise ValueError(f"no wire type: {kind}")
        if stop > end:
            raise ValueError("a field goes on beyond its message")
        yield place, tag >> 3, at, stop
        at = stop


def _varint(data: _Data, at: int, end: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number has no end")
