"""A second decoder, in NumPy, laid out as FORMAT.md is: slow, complete, and independent of the native one."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.names import spec_of
from onnxsqueeze.errors import FormatError

Array = npt.NDArray[Any]

PLANE_BITS = {1: [1], 2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]}
INDEX_SLOTS = {"P1": 2, "P2": 4, "P4": 16}
RAW_DTYPES = {"Raw16": np.float16, "Raw32": np.float32, "Raw64": np.float64}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(f"packed weight is corrupt: {what}")


def _segments(payload: Array, sizes: list[int]) -> list[Array]:
    _require(all(s >= 0 for s in sizes) and sum(sizes) == len(payload), "the segments do not fill the payload")
    return [payload[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _packed(planes: list[Array], bits: int, count: int) -> Array:
    """Section 3.1."""
    _require(len(planes) == len(PLANE_BITS[bits]), "the number of planes does not fit the bits")
    blocks = (count + 7) // 8
    for plane, width in zip(planes, PLANE_BITS[bits], strict=True):
        _require(len(plane) == width * blocks, "a plane has the wrong length")
    result = np.zeros(8 * blocks, np.int64)
    for plane, width in zip(planes, PLANE_BITS[bits], strict=True):
        shifts = np.arange(0, 8, width)
        fields = (plane[:, None].astype(np.int64) >> shifts) & ((1 << width) - 1)
        result = (result << width) | fields.reshape(-1)
    _require(not result[count:].any(), "the unused elements of a plane are not 0")
    return result[:count]


def _huffman(segments: list[Array], attributes: dict[str, list[int]], depth: int, low: int, count: int) -> Array:
    """Section 3.2."""
    zeros, leaves, starts = attributes["zeros"], attributes["leaves"], attributes["starts"]
    _require(len(zeros) == len(leaves) == depth, "zeros or leaves do not have one entry a level")
    _require(len(segments) == depth + len(PLANE_BITS.get(low, [])), "the number of segments does not fit the name")
    bounds = [0, *starts, count]
    _require(1 <= len(starts) <= 255 and (len(starts) + 1) << low <= 256, "too few or too many leaves")
    _require(all(a < b for a, b in pairwise(bounds)), "starts do not increase")
    sizes = [count - done for done in accumulate(leaves, initial=0)]  # n_0 … n_D
    _require(min(leaves) >= 0 and sizes[-1] == 0, "the leaves do not add up to the elements")
    _require({count - size for size in sizes} <= set(bounds), "a level ends inside a leaf")
    for segment, size in zip(segments, sizes[:-1], strict=False):
        _require(len(segment) == (size + 7) // 8, "a level has the wrong length")
        _require(not np.unpackbits(segment, bitorder="little")[size:].any(), "the unused bits of a level are not 0")
    ordered = np.repeat(np.arange(len(starts) + 1), np.diff(bounds))
    below = np.zeros(0, np.int64)
    for level in reversed(range(depth)):
        size = sizes[level]
        bits = np.unpackbits(segments[level], count=size, bitorder="little").astype(np.int64)
        _require(size - int(bits.sum()) == zeros[level], "a level's count of zeros is wrong")
        merged = np.concatenate([ordered[count - size : count - size + leaves[level]], below])
        ones_before = np.cumsum(bits) - bits
        below = merged[np.where(bits == 1, zeros[level] + ones_before, np.arange(size) - ones_before)]
    high: Array = below << low
    return high | _packed(segments[depth:], low, count) if low else high


def _input(encoded: Encoded, name: str, *dtypes: Any) -> Array:
    _require(name in encoded.inputs, f"input '{name}' is missing")
    array: Array = encoded.inputs[name]
    _require(array.ndim == 1 and array.dtype in dtypes, f"input '{name}' is no vector of its type")
    return array


def _ints(encoded: Encoded, name: str, count: int | None = None) -> list[int]:
    _require(name in encoded.attributes, f"attribute '{name}' is missing")
    values = list(encoded.attributes[name])
    _require(count is None or len(values) == count, f"attribute '{name}' does not have {count} entries")
    return values


def _stream(encoded: Encoded, prefix: str, kind: str, count: int) -> Array:
    segments = _segments(_input(encoded, prefix, np.uint8), _ints(encoded, f"{prefix}_sizes"))
    if kind[0] == "P":
        return _packed(segments, int(kind[1:]), count)
    depth, _, low = kind[1:].partition("L")
    lists = {name: _ints(encoded, f"{prefix}_{name}") for name in ("zeros", "leaves", "starts")}
    return _huffman(segments, lists, int(depth), int(low or 0), count)


def _values(encoded: Encoded, kind: str, count: int) -> Array:
    if kind in RAW_DTYPES:
        values = _input(encoded, "values", RAW_DTYPES[kind])
        _require(len(values) == count, "the raw values have the wrong number")
        return values
    indices = _stream(encoded, "v", kind, count)
    codebook = _input(encoded, "codebook", np.float32)
    slots = INDEX_SLOTS.get(kind, 1)
    if kind[0] == "H":
        slots = (len(_ints(encoded, "v_starts")) + 1) << int(kind.partition("L")[2] or 0)
    _require(slots <= len(codebook) <= 256, "the codebook has too few or too many entries")
    _require(int(indices.max(initial=0)) < len(codebook), "an index is outside the codebook")
    return codebook[indices]


def _gaps(encoded: Encoded, kinds: list[str], total: int) -> Array:
    """Section 4.3."""
    (entries,) = _ints(encoded, "entries", 1)
    _require(1 <= entries <= total, "the number of entries does not fit the weight")
    distances = _stream(encoded, "p", kinds[0], entries)
    _require(bool((distances[1:] > 0).all()), "a distance is zero")
    positions = np.cumsum(distances)
    _require(int(positions[-1]) < total, "a position is outside the weight")
    values = _values(encoded, kinds[1], entries)
    result = np.zeros(total, values.dtype)
    result[positions] = values
    return result


def _nm(encoded: Encoded, kinds: list[str], total: int) -> Array:
    """Section 4.4."""
    (groups, size), (rows, kept) = _ints(encoded, "groups", 2), _ints(encoded, "kept", 2)
    _require(
        rows == groups >= 1 and groups * size == total and 1 <= kept < size <= 256,
        "the groups do not fit the weight",
    )
    _require(_ints(encoded, "entries", 1) == [groups * kept], "the number of entries does not fit the groups")
    _require(kinds[0] == f"P{max(1, math.ceil(math.log2(size)))}", "the name does not fit the size of the groups")
    moved, perm, shape = (_ints(encoded, name) for name in ("moved", "perm", "shape"))
    _require(sorted(perm) == list(range(len(shape))) and len(moved) == len(shape), "perm is no transposition")
    _require([moved[axis] for axis in perm] == shape, "moved and perm do not give the shape")
    positions = _stream(encoded, "p", kinds[0], groups * kept).reshape(groups, kept)
    _require(bool((np.diff(positions, axis=1) > 0).all()), "positions in a group do not increase")
    _require(int(positions.max(initial=0)) < size, "a position is outside its group")
    values = _values(encoded, kinds[1], groups * kept)
    result = np.zeros((groups, size), values.dtype)
    np.put_along_axis(result, positions, values.reshape(groups, kept), axis=1)
    return np.ascontiguousarray(result.reshape(moved).transpose(perm)).reshape(-1)


def _scaled(encoded: Encoded, weight: Array) -> Array:
    """Section 4.5."""
    table, codes = _input(encoded, "scales", np.float32), _input(encoded, "channels", np.uint8)
    _require(1 <= len(table) <= 256 and bool((np.isfinite(table) & (table > 0)).all()), "a scale is not positive")
    shape = _ints(encoded, "scale_shape", weight.ndim)
    pairs = [(d, full) for d, full in zip(shape, weight.shape, strict=True) if d != 1]
    _require(len(pairs) <= 1 and all(d == full for d, full in pairs), "the scale does not fit the weight")
    _require(
        math.prod(shape) == len(codes) and (len(pairs) == 1 or 1 in weight.shape),
        "the scale does not fit the weight",
    )
    _require(int(codes.max(initial=0)) < len(table), "a scale code is outside the table")
    with np.errstate(over="ignore", under="ignore"):
        return weight * table[codes].reshape(shape)


def decode(encoded: Encoded) -> Array:
    """The weight, dense, in its shape and type.  Raises FormatError on any state that FORMAT.md forbids."""
    spec = spec_of(encoded.op_type)
    shape = _ints(encoded, "shape")
    _require(1 <= len(shape) <= 32 and min(shape) >= 1, "the shape does not have 1 to 32 positive dimensions")
    _require(max(shape) < 1 << 28, "the weight has 2^28 elements or more")
    total = math.prod(shape)
    _require(total < 1 << 28, "the weight has 2^28 elements or more")
    if spec.layout == "Fill":
        value = _input(encoded, "value", np.float16, np.float32, np.float64)
        _require(len(value) == 1, "the value is not a single one")
        return np.full(shape, value[0])
    if spec.layout != "NM":
        _require(_ints(encoded, "total", 1) == [total], "attribute 'total' does not fit the shape")
    if spec.layout == "Dense":
        _require(spec.tail == (total % 8 != 0), "the name does not say whether there is a tail")
        flat = _values(encoded, spec.values, total)
    else:
        flat = (_gaps if spec.layout == "Gaps" else _nm)(encoded, [spec.positions, spec.values], total)
    weight = flat.reshape(shape)
    if spec.scaled:
        weight = _scaled(encoded, weight)
    if spec.converted:
        _require(encoded.to in (10, 11), "attribute 'to' is neither float16 nor float64")
        with np.errstate(over="ignore", under="ignore"):
            weight = weight.astype({10: np.float16, 11: np.float64}[encoded.to])
    return weight
