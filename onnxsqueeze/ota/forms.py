"""What a packed weight says, apart from how its streams are cut, and its bytes again from that (UPDATE.md, 5.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Encoded, streams
from onnxsqueeze.encode.layouts import bridge, kept_positions
from onnxsqueeze.encode.names import Spec, spec_of, split_kind
from onnxsqueeze.encode.streams import PLANES, Stream
from onnxsqueeze.errors import FormatError
from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

NO_SLOT = 256  # of a value that the codebook does not hold: the zero of a sparse weight without fillers
EMPTY = np.zeros(0, np.uint16)


@dataclass(frozen=True)
class Kind:
    """What the skeleton says of a packed weight."""

    op_type: str
    attributes: dict[str, list[int]]
    counts: dict[str, int]  # elements of each input

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return tuple(self.attributes.get("shape", ()))


@dataclass(frozen=True, eq=False)
class Form:
    """A packed weight: its values in order, where the codebook has them, and which one each element takes."""

    book: Array  # float32, ascending: the values that occur, and the zero of sparse layouts
    slots: Array  # uint16: where in the codebook each of them is
    value_levels: Array  # uint16: of a Huffman stream, how many codes have each length
    position_levels: Array
    longest: int  # distance that needs no filler; 1 where there are none
    scales: Array  # float32
    channels: Array  # uint8
    grid: Array  # per element: index into the book (uint8), or the value itself where there is none; flat


def form_of(encoded: Encoded) -> Form:
    """Reads a packed weight; raises FormatError where it is corrupt, or packed in a way that is not ours."""
    spec = spec_of(encoded.op_type)
    if spec.layout == "Fill":
        raise FormatError("a filled weight has no form")
    count = _count(encoded, spec)
    positions = _decoded(encoded, "p", spec.positions, count) if spec.positions else None
    places = None if positions is None else _places(encoded, spec, positions)
    total = math.prod(encoded.attributes["shape"])
    longest = max(1, int(positions.max(initial=1))) if positions is not None and spec.layout == "Gaps" else 1
    scales = encoded.inputs.get("scales", np.zeros(0, np.float32))
    channels = encoded.inputs.get("channels", np.zeros(0, np.uint8))
    value_levels, position_levels = _levels(encoded, "v", spec.values), _levels(encoded, "p", spec.positions)
    if spec.raw:
        values = encoded.inputs["values"]
        book, slots, entries = np.zeros(0, np.float32), EMPTY, values
        zero: Any = 0
    else:
        indices = _decoded(encoded, "v", spec.values, count)
        book, slots = _book(encoded.inputs["codebook"], indices, places is not None)
        ranks = np.zeros(256, np.uint8)
        ranks[slots[slots < NO_SLOT]] = np.flatnonzero(slots < NO_SLOT)
        entries, zero = ranks[indices], int(np.searchsorted(book, 0))
    grid = entries
    if places is not None:
        grid = np.full(total, zero, entries.dtype)
        grid[places] = entries
    return Form(book, slots, value_levels, position_levels, longest, scales, channels, grid)


def _count(encoded: Encoded, spec: Spec) -> int:
    """Integers in each stream."""
    if spec.layout == "Dense":
        return math.prod(encoded.attributes["shape"])
    return encoded.attributes["entries"][0]


def _decoded(encoded: Encoded, prefix: str, kind: str, count: int) -> Array:
    lists = [encoded.attributes.get(f"{prefix}_{name}", []) for name in ("sizes", "zeros", "leaves", "starts")]
    return streams.decode(Stream(kind, encoded.inputs[prefix], *lists), count)


def _places(encoded: Encoded, spec: Spec, positions: Array) -> Array:
    """Where in the weight, row-major, each entry goes."""
    if spec.layout == "Gaps":
        return np.cumsum(positions, dtype=np.int64)
    (groups, size), (_, kept) = encoded.attributes["groups"], encoded.attributes["kept"]
    moved = np.arange(groups)[:, None] * size + positions.reshape(groups, kept)
    return _unmoved(encoded.attributes)[moved.reshape(-1)]


def _unmoved(attributes: dict[str, list[int]]) -> Array:
    """For each element, in the order that has the grouped axis last, where it is in the weight."""
    shape, perm = attributes["shape"], attributes["perm"]
    if sorted(perm) != list(range(len(shape))):
        raise FormatError("the update is damaged: perm is no transposition")
    return np.arange(math.prod(shape)).reshape(shape).transpose(np.argsort(perm)).reshape(-1)


def _book(codebook: Array, indices: Array, sparse: bool) -> tuple[Array, Array]:
    """The values that occur, ascending, and their slots; in sparse weights also zero."""
    used = np.flatnonzero(np.bincount(indices, minlength=256))
    slots = used[np.argsort(codebook[used], kind="stable")]
    book = codebook[slots]
    if sparse and not (book == 0).any():
        at = int(np.searchsorted(book, 0))
        book, slots = np.insert(book, at, 0), np.insert(slots, at, NO_SLOT)
    if not np.isfinite(book).all() or len(book) > 256:
        raise FormatError("the codebook has no form")
    return book, slots.astype(np.uint16)


def _levels(encoded: Encoded, prefix: str, kind: str) -> Array:
    """How many leaves end on each level of a Huffman stream."""
    if not kind.startswith("H"):
        return EMPTY
    leaves, starts = (np.array(encoded.attributes[f"{prefix}_{name}"], np.int64) for name in ("leaves", "starts"))
    ends = np.searchsorted(np.append(starts, leaves.sum()), np.cumsum(leaves), side="right")
    return np.diff(ends, prepend=0).astype(np.uint16)


def pieces(kind: Kind, form: Form) -> dict[str, Any]:
    """Inputs (arrays) and lists of a packed weight, by name; raises FormatError where the form is none."""
    spec, attributes, slots_count = spec_of(kind.op_type), kind.attributes, kind.counts.get("codebook", 0)
    found: dict[str, Any] = {}
    if spec.scaled:
        found |= {"scales": form.scales, "channels": form.channels}
    grid, real = form.grid, None
    if spec.positions:
        positions, grid, real = _entries(spec, attributes, form)
        found |= _stream("p", spec.positions, positions, form.position_levels)
    if spec.raw:
        values = np.zeros(len(grid) if real is None else len(real), grid.dtype)
        values[slice(None) if real is None else real] = grid
        return found | {"values": values}
    if len(form.slots) and slots_count <= int(form.slots[form.slots < NO_SLOT].max(initial=0)):
        raise FormatError("the update is damaged: a value has no place in the codebook")
    zero = int(form.slots[min(int(np.searchsorted(form.book, 0)), len(form.slots) - 1)])
    picked = form.slots[grid]
    if real is not None:
        wide = np.full(len(real), zero, np.uint16)
        wide[real] = picked
        picked = wide
    if int(picked.max(initial=0)) >= NO_SLOT:
        raise FormatError("the update is damaged: a value is not in the codebook")
    codebook = np.zeros(slots_count, np.float32)
    held = form.slots < NO_SLOT
    codebook[form.slots[held]] = form.book[held]
    return found | {"codebook": codebook} | _stream("v", spec.values, picked.astype(np.uint8), form.value_levels)


def _entries(spec: Spec, attributes: dict[str, list[int]], form: Form) -> tuple[Array, Array, Array | None]:
    """Positions of a sparse weight, the grid at its entries, and which entries carry one."""
    nonzero = form.grid != (0 if spec.raw else int(np.searchsorted(form.book, 0)))
    if spec.layout == "Gaps":
        places = np.flatnonzero(nonzero)
        if not len(places):
            raise FormatError("the update is damaged: a sparse weight has no entries")
        steps, real = bridge(np.diff(places, prepend=0), form.longest)
        return steps.astype(np.uint8), form.grid[places], real
    order = _unmoved(attributes)
    (groups, size), (_, kept) = attributes["groups"], attributes["kept"]
    if groups * size != len(order) or not 1 <= kept <= size <= 256:
        raise FormatError("the update is damaged: the groups do not fit the weight")
    positions = kept_positions(nonzero[order].reshape(groups, size), kept)
    if positions is None:
        raise FormatError("the update is damaged: a group holds too many values")
    grid = np.take_along_axis(form.grid[order].reshape(groups, size), positions, axis=1)
    return positions.astype(np.uint8).reshape(-1), grid.reshape(-1), None


def _stream(prefix: str, kind: str, values: npt.NDArray[np.uint8], levels: Array) -> dict[str, Any]:
    """Payload and lists of a stream."""
    depth, low = split_kind(kind)
    if depth == 0:
        payload, sizes = native.pack(values, low)
        return {prefix: payload, f"{prefix}_sizes": sizes}
    lengths = np.repeat(np.arange(1, len(levels) + 1), levels).astype(np.uint8)
    if not 2 <= len(lengths) <= 256 or int(values.max(initial=0)) >> low >= len(lengths):
        raise FormatError("the update is damaged: a code does not fit its values")
    payload, sizes, zeros, leaves, starts = native.huffman_encode(values >> np.uint8(low), lengths)
    unused = [0] * (depth - len(sizes))
    sizes, zeros, leaves = sizes + unused, zeros + unused, leaves + unused
    if low:
        planes, _ = native.pack(values & np.uint8((1 << low) - 1), low)
        payload = np.concatenate([payload, planes])
        sizes = sizes + [width * streams.blocks_of(len(values)) for width in PLANES[low]]
    lists = {"sizes": sizes, "zeros": zeros, "leaves": leaves, "starts": starts}
    return {prefix: payload} | {f"{prefix}_{name}": values for name, values in lists.items()}
