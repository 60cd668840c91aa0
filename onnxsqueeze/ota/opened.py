"""A model taken apart, with its weights within reach."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Encoded
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.errors import FormatError
from onnxsqueeze.ota import items, wire
from onnxsqueeze.ota.bundle import Bundle
from onnxsqueeze.ota.container import Reader
from onnxsqueeze.ota.items import DTYPES, Item, Layout, Packed
from onnxsqueeze.ota.wire import Irregular

Array = npt.NDArray[Any]

UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
ITEM_SIZES = {4: 2, 5: 2, 6: 4, 7: 8, 12: 4, 13: 8, 16: 2}  # of ONNX's types that are no floats of NumPy's


@dataclass(frozen=True)
class Opened:
    """The skeleton of a model, what fills it, and what that means."""

    skeleton: bytes
    layout: Layout
    contents: tuple[memoryview, ...]  # of the holes
    fillers: bytes  # of external files: what belongs to no tensor

    def array(self, hole: int | None, dtype: str, inline: bytes = b"") -> Array:
        """The contents of a hole, or what the skeleton has instead."""
        data = inline if hole is None else self.contents[hole]
        return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype, copy=False)

    def digest(self, item: Item) -> bytes:
        """A hash of the contents of an item."""
        found = hashlib.sha256()
        for hole in item.places():
            found.update(len(self.contents[hole]).to_bytes(8, "little"))
            found.update(self.contents[hole])
        return found.digest()

    def encoded(self, item: Packed) -> Encoded:
        """The packed weight, as the decoders take it."""
        inputs = {name: self.array(v.hole, v.dtype, v.inline) for name, v in item.inputs.items()}
        lists = {name: numbers(self.contents[hole]) for name, hole in item.holes.items()}
        return Encoded(item.op_type, inputs, item.attributes | lists, item.to)

    def values(self, item: Item) -> Array:
        """The weight, dense, in its shape and type; integers as unsigned ones; raises FormatError where corrupt."""
        if isinstance(item, Packed):
            return decode(self.encoded(item))
        flat = self.array(item.hole, element_type(item.dtype, len(self.contents[item.hole])))
        return flat.reshape(item.shape) if math.prod(item.shape) == len(flat) else flat


def element_type(kind: int, nbytes: int) -> str:
    """The type that a tensor of ONNX type ``kind`` is coded as: a float, or an unsigned integer."""
    if kind in DTYPES and nbytes % np.dtype(DTYPES[kind]).itemsize == 0:
        return DTYPES[kind]
    size = ITEM_SIZES.get(kind, 1)
    return np.dtype(UNSIGNED[size if nbytes % size == 0 else 1]).name


def numbers(run: memoryview) -> list[int]:
    """The integers of an attribute's list, as it lies in the file."""
    reader, found = Reader(run), []
    while reader.left:
        reader.take(1)
        found.append(reader.number())
    return found


def open_bundle(bundle: Bundle) -> Opened:
    """Takes a model apart; raises Irregular where that cannot be undone."""
    parts = wire.dissect(bundle.files[0])
    try:
        found = items.layout(Reader(parts.skeleton))
        regions, fillers = external(bundle.names, bundle.files[1:], found)
    except FormatError:
        raise Irregular from None
    contents = (*(hole.data for hole in parts.holes), *regions)
    if any(size not in (None, len(data)) for size, data in zip(found.sizes, contents, strict=True)):
        raise Irregular
    return Opened(parts.skeleton, found, contents, fillers)


def external(names: Sequence[str], files: Sequence[memoryview], found: Layout) -> tuple[list[memoryview], bytes]:
    """The regions of external files, and what lies between them, file by file."""
    by_name = dict(zip(names, files, strict=True))
    regions, fillers = [], bytearray()
    ends = dict.fromkeys(names, 0)
    for region in found.regions:
        file = by_name.get(region.location, memoryview(b""))
        regions.append(file[region.offset : region.offset + region.nbytes])
        fillers += file[ends.get(region.location, 0) : region.offset]
        ends[region.location] = region.offset + region.nbytes
    tails = b"".join(bytes(by_name[name][ends[name] :]) for name in names)
    return regions, bytes(fillers) + tails


def join_external(
    targets: Sequence[tuple[str, int]], regions: Sequence[bytes | memoryview], found: Layout, fillers: Reader
) -> list[bytes]:
    """The external files of these names and sizes; the inverse of ``external``."""
    parts: dict[str, list[bytes | memoryview]] = {name: [] for name, _ in targets}
    ends = dict.fromkeys(parts, 0)
    for region, data in zip(found.regions, regions, strict=True):
        if region.location not in parts:
            raise FormatError("the update is damaged: a tensor lies in no file")
        parts[region.location] += [fillers.take(region.offset - ends[region.location]), data]
        ends[region.location] = region.offset + region.nbytes
    for name, nbytes in targets:
        if ends[name] > nbytes:
            raise FormatError("the update is damaged: a tensor ends behind its file")
        parts[name].append(fillers.take(nbytes - ends[name]))
    return [b"".join(parts[name]) for name, _ in targets]


def find_old(after: Opened, before: Opened) -> list[int | None]:
    """For each new item the older one that it follows: an equal one, else, each once, of its name or of its shape.

    Of equal ones the one of the same name, else the first.
    """
    new, old = after.layout.items, before.layout.items
    by_name: dict[str, int] = {}
    by_shape: dict[tuple[int, ...], list[int]] = {}
    equal: dict[bytes, int] = {}
    digests = [before.digest(item) for item in old]
    for number, item in enumerate(old):
        by_name.setdefault(item.name, number)
        equal.setdefault(digests[number], number)
    found: list[int | None] = []
    changed: set[int | None] = set()
    for item in new:
        named, digest = by_name.get(item.name) if item.name else None, after.digest(item)
        if digest in equal:
            found.append(named if named is not None and digests[named] == digest else equal[digest])
        else:
            found.append(None if named in changed else named)
            changed.add(named)
    taken = set(found)
    for number, item in enumerate(old):
        if number not in taken and item.shape:
            by_shape.setdefault(item.shape, []).append(number)
    for place, item in enumerate(new):
        if found[place] is None and by_shape.get(item.shape):
            found[place] = by_shape[item.shape].pop(0)
    return found
