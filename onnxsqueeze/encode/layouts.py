"""The layouts of FORMAT.md, section 4: for one weight, every layout that applies, and the smallest of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import streams
from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.indices import Indexed, from_distinct, from_sharing
from onnxsqueeze.encode.names import spec_of
from onnxsqueeze.encode.note import Note, Pattern, Scale
from onnxsqueeze.encode.streams import StreamPlan

Array = npt.NDArray[Any]

MAX_ELEMENTS, MAX_RANK = 1 << 28, 32
RAW_NAMES = {2: "Raw16", 4: "Raw32", 8: "Raw64"}
TO_TYPES = {np.dtype(np.float16): 10, np.dtype(np.float64): 11}

# Fewer zeros than this cannot make a sparse layout the smaller one: a distance costs over a bit.
SPARSE_FROM, SPARSE_RAW_FROM = 0.35, 0.1


@dataclass(frozen=True)
class Coding:
    """Which codings of streams may be chosen: entropy codings or not, or only the given kinds."""

    entropy: bool
    positions: str = ""
    values: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """A way to encode a weight: its size now, its bytes on demand, and what its Huffman streams cost at load."""

    op_type: str
    nbytes: int
    build: Callable[[], Encoded]
    streams: tuple[StreamPlan, ...] = ()

    @property
    def load_nodes(self) -> int:
        """Standard operators that decode the Huffman streams."""
        return sum(s.load_nodes for s in self.streams)

    @property
    def load_bytes(self) -> int:
        """Memory that decoding the Huffman streams takes in a runtime that keeps all intermediates, in bytes."""
        return sum(s.load_bytes for s in self.streams)


def _scale_parts(scale: Scale | None, ndim: int) -> tuple[dict[str, Array], dict[str, list[int]]]:
    if scale is None:
        return {}, {}
    shape = [1] * ndim
    shape[scale.axis] = len(scale.codes)
    return {"scales": scale.table, "channels": scale.codes}, {"scale_shape": shape}


def _converted(name: str, values: Array) -> int:
    """The type that decoded float32 is converted to, or 0."""
    return 0 if "Raw" in name else TO_TYPES.get(values.dtype, 0)


def _op_type(name: str, values: Array, scale: Scale | None) -> str:
    """The name of a layout with what all layouts share: scale, type and tail."""
    tail = "_T" if name.startswith("Dense") and values.size % 8 else ""
    return name + ("_S" if scale else "") + ("_C" if _converted(name, values) else "") + tail


def _assemble(
    name: str, values: Array, scale: Scale | None, inputs: dict[str, Array], attributes: dict[str, list[int]]
) -> Encoded:
    scale_inputs, scale_attributes = _scale_parts(scale, values.ndim)
    return Encoded(
        _op_type(name, values, scale),
        inputs | scale_inputs,
        {"shape": list(values.shape)} | attributes | scale_attributes,
        _converted(name, values),
    )


def _scale_nbytes(scale: Scale | None) -> int:
    return 0 if scale is None else 4 * len(scale.table) + len(scale.codes) + 80


def _fill(values: Array) -> Encoded | None:
    first = values.reshape(-1)[:1]
    if values.tobytes() != first.tobytes() * values.size:
        return None
    return Encoded("Fill", {"value": first.copy()}, {"shape": list(values.shape)})


def _dense(values: Array, indexed: Indexed, coding: Coding) -> Plan | None:
    plan = streams.plan_indices(indexed.counts, coding.entropy, coding.values)
    if plan is None:
        return None
    name = f"Dense_{plan.kind}"

    def build() -> Encoded:
        stream = streams.encode(indexed.indices, plan)
        codebook = streams.permute_codebook(indexed.codebook, plan)
        inputs: dict[str, Array] = {"codebook": codebook, "v": stream.payload}
        attributes = stream.attributes("v") | {"total": [values.size]}
        return _assemble(name, values, indexed.scale, inputs, attributes)

    nbytes = plan.nbytes + 4 * streams.slots(len(indexed.codebook), plan) + _scale_nbytes(indexed.scale) + 134
    return Plan(_op_type(name, values, indexed.scale), nbytes, build, (plan,))


@dataclass(frozen=True, eq=False)
class _Entries:
    """Distances, fillers included, and which of them carry a value."""

    distances: npt.NDArray[np.uint8]
    real: npt.NDArray[np.bool_]
    plan: StreamPlan


def bridge(distances: Array, longest: int) -> tuple[Array, Array]:
    """Splits distances over ``longest`` into steps of ``longest`` (fillers) and a rest of at least 1."""
    fillers = np.maximum(distances - 1, 0) // longest
    ends = np.cumsum(fillers + 1) - 1
    result = np.full(int(ends[-1]) + 1, longest, np.int64)
    result[ends] = distances - fillers * longest
    real = np.zeros(len(result), bool)
    real[ends] = True
    return result, real


def _entries(positions: Array, value_bits: float, coding: Coding) -> _Entries | None:
    """The longest distance (and so the coding) with the fewest bits, fillers paying for a value each."""
    distances = np.diff(positions, prepend=0)
    best: tuple[float, _Entries] | None = None
    for bits in range(1, 9):
        longest = (1 << bits) - 1
        if len(positions) + float((distances // longest).sum()) > 4 * len(positions):
            continue
        steps, real = bridge(distances, longest)
        entropy = coding.entropy and bits >= 4
        plan = streams.plan_distances(np.bincount(steps, minlength=2), entropy, coding.positions)
        if plan is None:
            continue
        cost = 8 * plan.nbytes + value_bits * len(steps)
        if best is None or cost < best[0]:
            best = cost, _Entries(steps.astype(np.uint8), real, plan)
    if best is not None:
        return best[1]
    steps, real = bridge(distances, 255)
    plan = streams.plan_distances(np.bincount(steps, minlength=2), coding.entropy, coding.positions)
    return None if plan is None else _Entries(steps.astype(np.uint8), real, plan)


def _with_fillers(values: Array, real: Array) -> Array:
    result = np.zeros(len(real), values.dtype)
    result[real] = values
    return result


def _gaps_raw(values: Array, positions: Array, coding: Coding) -> Plan | None:
    entries = _entries(positions, 8 * values.itemsize, coding)
    if entries is None:
        return None
    count = len(entries.real)
    name = f"Gaps_{entries.plan.kind}_{RAW_NAMES[values.itemsize]}"

    def build() -> Encoded:
        stream = streams.encode(entries.distances, entries.plan)
        raw = _with_fillers(values.reshape(-1)[positions], entries.real)
        attributes = stream.attributes("p") | {"total": [values.size], "entries": [count]}
        return _assemble(name, values, None, {"p": stream.payload, "values": raw}, attributes)

    return Plan(name, entries.plan.nbytes + values.itemsize * count + 140, build, (entries.plan,))


def _nonzero_codebook(indexed: Indexed, picked: Array, real: Array) -> tuple[Array, Array, Array]:
    """Codebook, indices and counts of the entries alone; fillers point at the entry for zero."""
    zeros = np.flatnonzero(~_stored(indexed.codebook))
    zero = int(zeros[0]) if len(zeros) else -1
    wide = np.full(len(real), zero, np.int64)
    wide[real] = picked
    counts = np.bincount(wide, minlength=len(indexed.codebook))
    used = counts > 0
    renumber = np.maximum(np.cumsum(used) - 1, 0).astype(np.uint8)
    return indexed.codebook[used], renumber[wide], counts[used]


def _gaps_shared(values: Array, indexed: Indexed, positions: Array, coding: Coding) -> Plan | None:
    picked = indexed.indices[positions]
    entries = _entries(positions, float(np.log2(max(2, len(indexed.codebook)))), coding)
    if entries is None:
        return None
    codebook, indices, counts = _nonzero_codebook(indexed, picked, entries.real)
    plan = streams.plan_indices(counts, coding.entropy, coding.values)
    if plan is None:
        return None
    name = f"Gaps_{entries.plan.kind}_{plan.kind}"

    def build() -> Encoded:
        distances, stream = streams.encode(entries.distances, entries.plan), streams.encode(indices, plan)
        inputs: dict[str, Array] = {"p": distances.payload, "codebook": streams.permute_codebook(codebook, plan)}
        inputs["v"] = stream.payload
        attributes = distances.attributes("p") | stream.attributes("v")
        attributes |= {"total": [values.size], "entries": [len(indices)]}
        return _assemble(name, values, indexed.scale, inputs, attributes)

    nbytes = (
        entries.plan.nbytes + plan.nbytes + 4 * streams.slots(len(codebook), plan) + _scale_nbytes(indexed.scale) + 190
    )
    return Plan(_op_type(name, values, indexed.scale), nbytes, build, (entries.plan, plan))


def _grouped(flat: Array, shape: tuple[int, ...], pattern: Pattern) -> tuple[Array, list[int]]:
    """The weight as rows of one group each, and its shape with the grouped axis moved last."""
    moved = np.moveaxis(flat.reshape(shape), pattern.axis, -1)
    return np.ascontiguousarray(moved).reshape(-1, pattern.group), list(moved.shape)


def kept_positions(nonzero: Array, kept: int) -> Array | None:
    """Per row the ``kept`` positions that hold every nonzero, increasing; None where a row has more."""
    if int(nonzero.sum(axis=1).max(initial=0)) > kept:
        return None
    first = np.argsort(~nonzero, axis=1, kind="stable")[:, :kept]
    return np.sort(first, axis=1)


def _nm(values: Array, indexed: Indexed | None, pattern: Pattern, coding: Coding) -> Plan | None:
    if values.shape[pattern.axis] % pattern.group:
        return None
    rows, moved = _grouped(values, values.shape, pattern)
    positions = kept_positions(_stored(rows), pattern.kept)
    if positions is None:
        return None
    bits = max(1, (pattern.group - 1).bit_length())
    position_plan = StreamPlan(f"P{bits}", bits * streams.blocks_of(positions.size), bits=bits)
    moved_axes = [*(i for i in range(values.ndim) if i != pattern.axis % values.ndim), pattern.axis % values.ndim]
    attributes = {
        "groups": [len(rows), pattern.group],
        "kept": [len(rows), pattern.kept],
        "entries": [positions.size],
        "moved": moved,
        "perm": [int(i) for i in np.argsort(moved_axes)],
    }
    if indexed is None:
        raw = np.take_along_axis(rows, positions, axis=1).reshape(-1)
        return _nm_candidate(values, None, position_plan, positions, {"values": raw}, attributes)
    grid, _ = _grouped(indexed.indices, values.shape, pattern)
    picked = np.take_along_axis(grid, positions, axis=1).reshape(-1)
    codebook, indices, counts = _nonzero_codebook(indexed, picked, np.ones(len(picked), bool))
    plan = streams.plan_indices(counts, coding.entropy, coding.values)
    if plan is None:
        return None
    stream = streams.encode(indices, plan)
    inputs: dict[str, Array] = {"codebook": streams.permute_codebook(codebook, plan), "v": stream.payload}
    attributes |= stream.attributes("v")
    return _nm_candidate(values, indexed.scale, position_plan, positions, inputs, attributes, plan.kind)


def _nm_candidate(
    values: Array,
    scale: Scale | None,
    plan: StreamPlan,
    positions: Array,
    inputs: dict[str, Array],
    attributes: dict[str, list[int]],
    kind: str = "",
) -> Plan:
    stream = streams.encode(positions.astype(np.uint8), plan)
    name = f"NM_{plan.kind}_{kind or RAW_NAMES[values.itemsize]}"
    encoded = _assemble(name, values, scale, {"p": stream.payload} | inputs, attributes | stream.attributes("p"))
    return Plan(encoded.op_type, encoded.nbytes, lambda: encoded)


def _stored(values: Array) -> Array:
    """Which elements sparse layouts keep: all but +0.0, for decoding makes that of what is left out."""
    kept: Array = (values != 0) | np.signbit(values)
    return kept


def _candidates(values: Array, note: Note, codings: Sequence[Coding]) -> Iterator[Plan | None]:
    indexed = from_sharing(values, note.sharing) if note.sharing else None
    indexed = indexed or from_distinct(values)
    if indexed is not None:
        yield from (_dense(values, indexed, coding) for coding in codings)
    positions = np.flatnonzero(_stored(values))
    if SPARSE_RAW_FROM <= 1 - len(positions) / values.size < 1:
        if indexed is None:
            yield from (_gaps_raw(values, positions, coding) for coding in codings)
        elif 1 - len(positions) / values.size >= SPARSE_FROM:
            yield from (_gaps_shared(values, indexed, positions, coding) for coding in codings)
    if note.pattern is not None:
        yield from (_nm(values, indexed, note.pattern, coding) for coding in codings)


def _plans(values: Array, note: Note, codings: Sequence[Coding]) -> Iterator[Plan]:
    if not 0 < values.size < MAX_ELEMENTS or not 1 <= values.ndim <= MAX_RANK:
        return
    values = np.ascontiguousarray(values)
    filled = _fill(values)
    found = [Plan("Fill", filled.nbytes, lambda: filled)] if filled else _candidates(values, note, codings)
    yield from (plan for plan in found if plan is not None and plan.nbytes < values.nbytes)


def best_plan(values: Array, note: Note) -> Plan | None:
    """How to encode a weight in the fewest bytes; None where it stays dense (see ``smallest``)."""
    return min(_plans(values, note, [Coding(note.entropy)]), key=lambda plan: plan.nbytes, default=None)


def plans(values: Array, note: Note, op_types: Collection[str]) -> dict[str, Plan]:
    """How to encode a weight with each of these operators that can hold it, and how without entropy coding."""
    specs = [spec for spec in map(spec_of, op_types) if note.entropy or not any(k[0] == "H" for k in spec.streams)]
    codings = {Coding(note.entropy, spec.positions, "" if spec.raw else spec.values) for spec in specs}
    found: dict[str, Plan] = {}
    for plan in _plans(values, note, [Coding(False), *sorted(codings, key=repr)]):
        found.setdefault(plan.op_type, plan)
    return found


def smallest(values: Array, note: Note) -> Encoded | None:
    """The smallest encoding of a weight (float16, float32 or float64, any shape), exact to the bit.

    None where no encoding is smaller than the dense values, or where the weight has no elements, 2**28 and more,
    no dimensions or over 32.
    """
    plan = best_plan(values, note)
    encoded = plan.build() if plan is not None else None
    return encoded if encoded is not None and encoded.nbytes < values.nbytes else None
