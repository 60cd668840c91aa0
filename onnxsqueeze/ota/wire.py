"""A model file taken apart: a skeleton that says what is where, and the contents of its tensors (UPDATE.md, section 4).

What follows from the contents is not in the skeleton: lengths of the messages that they stand in, and the lists that
cut the streams of packed weights. So the skeletons of two versions of a model differ in little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.save import varint
from onnxsqueeze.ota.container import Reader

SMALLEST = 64  # bytes of a tensor's contents from which on they are taken out
DEEPEST = 64  # messages inside of each other

# Wire types of protobuf, and the two that it does not use: a message whose end is marked, and contents taken out.
VARINT, FIXED64, BYTES, FIXED32, MESSAGE, HOLE = 0, 1, 2, 5, 6, 7

# Per message: the fields that are messages of interest, and what they are.
INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {},
}
RAW_DATA, FLOAT_DATA, INTS, NAME = 9, 4, 8, 1
DERIVED = re.compile(rb"[pv]_(sizes|zeros|leaves|starts)")  # attributes that follow from a stream


class Irregular(Exception):
    """The file cannot be put together again from a skeleton; it is sent as it is."""


@dataclass(frozen=True)
class Hole:
    """Contents that were taken out, as they lie in the file."""

    field: int
    data: memoryview


@dataclass(frozen=True)
class Parts:
    """A file taken apart."""

    skeleton: bytes
    holes: tuple[Hole, ...]


def dissect(data: memoryview) -> Parts:
    """Takes a model file apart; raises Irregular where ``assemble`` would not give the same bytes."""
    out, holes = bytearray(), list[Hole]()
    try:
        _dissect(Reader(data), "model", 0, out, holes)
    except FormatError:
        raise Irregular from None
    out.append(0)
    parts = Parts(bytes(out), tuple(holes))
    contents = iter(holes)
    if assemble(Reader(parts.skeleton), lambda field, nbytes: next(contents).data) != data:
        raise Irregular
    return parts


def _dissect(reader: Reader, kind: str, depth: int, out: bytearray, holes: list[Hole]) -> None:
    if depth > DEEPEST:
        raise Irregular
    name = b""
    while reader.left:
        field, wire = _tag(reader)
        if wire == BYTES:
            content = reader.take(reader.number())
            if kind == "attribute" and field == NAME:
                name = bytes(content)
            if field in INNER[kind]:
                out += _tag_bytes(field, MESSAGE)
                _dissect(Reader(content), INNER[kind][field], depth + 1, out, holes)
                out.append(0)
            elif kind == "tensor" and field in (RAW_DATA, FLOAT_DATA) and len(content) >= SMALLEST:
                out += _tag_bytes(field, HOLE) + varint(len(content))
                holes.append(Hole(field, content))
            else:
                out += _tag_bytes(field, BYTES) + varint(len(content)) + content
        elif kind == "attribute" and (field, wire) == (INTS, VARINT) and DERIVED.fullmatch(name):
            out += _tag_bytes(field, HOLE)
            holes.append(Hole(field, _run(reader, _tag_bytes(field, VARINT)[0])))
        else:
            out += _tag_bytes(field, wire) + _scalar(reader, wire)


def assemble(reader: Reader, content: Callable[[int, int], bytes | memoryview]) -> bytes:
    """Puts a file together: ``content`` gives what was taken out, in order, from its field and its bytes (0: unknown).

    Raises FormatError where the skeleton is none.
    """
    return _assemble(reader, content, 0)


def _assemble(reader: Reader, content: Callable[[int, int], bytes | memoryview], depth: int) -> bytes:
    if depth > DEEPEST:
        raise FormatError("the update is damaged: its skeleton is too deep")
    parts: list[bytes | memoryview] = []
    while True:
        field, wire = _tag(reader)
        if field == 0:
            return b"".join(parts)
        if wire == MESSAGE:
            inner = _assemble(reader, content, depth + 1)
            parts += [_tag_bytes(field, BYTES), varint(len(inner)), inner]
        elif wire == HOLE:
            nbytes = 0 if field == INTS else reader.number()
            found = content(field, nbytes)
            parts += [found] if field == INTS else [_tag_bytes(field, BYTES), varint(len(found)), found]
        elif wire == BYTES:
            length = reader.number()
            parts += [_tag_bytes(field, BYTES), varint(length), reader.take(length)]
        else:
            parts += [_tag_bytes(field, wire), _scalar(reader, wire)]


def _tag(reader: Reader) -> tuple[int, int]:
    number = reader.number()
    return number >> 3, number & 7


def _tag_bytes(field: int, wire: int) -> bytes:
    return varint(field << 3 | wire)


def _scalar(reader: Reader, wire: int) -> bytes:
    """A number as it lies in the file."""
    if wire == VARINT:
        return _varint(reader)
    if wire not in (FIXED32, FIXED64):
        raise FormatError("the update is damaged: its skeleton holds an unknown field")
    return bytes(reader.take(4 if wire == FIXED32 else 8))


def _varint(reader: Reader) -> bytes:
    """A number of up to 64 bits, as it lies in the file."""
    out = bytearray()
    while len(out) < 10:
        out += reader.take(1)
        if out[-1] < 128:
            return bytes(out)
    raise FormatError("the update is damaged: a number does not end")


def _run(reader: Reader, tag: int) -> memoryview:
    """The first number of a list, whose tag was read, and all that follow it at once."""
    out = bytearray([tag]) + _varint(reader)
    while reader.left and reader.peek() == tag:
        reader.take(1)
        out += bytes([tag]) + _varint(reader)
    return memoryview(bytes(out))


def ints_run(values: Sequence[int]) -> bytes:
    """A list of integers as it lies in an attribute."""
    tag = _tag_bytes(INTS, VARINT)
    return b"".join(tag + varint(value) for value in values)
