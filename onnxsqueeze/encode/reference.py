"""A second decoder, in NumPy, laid out as FORMAT.md is: slow, complete, and independent of the native one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.names import spec_of
from onnxsqueeze.errors import FormatError

Array = npt.NDArray[Any]

PLANE_BITS = {1: [1], 2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]}
RAW_DTYPES = {"Raw16": np.float16, "Raw32": np.float32, "Raw64": np.float64}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(f"packed weight is corrupt: {what}")


def _segments(payload: Array, sizes: list[int]) -> list[Array]:
    _require(all(s >= 0 for s in sizes) and sum(sizes) == len(payload), "the segments do not fill the payload")
    ends = np.cumsum(sizes)
    return [payload[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _packed(planes: list[Array], bits: int, count: int) -> Array:
    """Section 3.1."""
    _require(len(planes) == len(PLANE_BITS[bits]), "the number of planes does not fit the bits")
    blocks = (count + 7) // 8
    result = np.zeros(8 * blocks, np.int64)
    for plane, width in zip(planes, PLANE_BITS[bits], strict=True):
        _require(len(plane) == width * blocks, "a plane has the wrong length")
        shifts = np.arange(0, 8, width)
        fields = (plane[:, None].astype(np.int64) >> shifts) & ((1 << width) - 1)
        result = (result << width) | fields.reshape(-1)
    return result[:count]


def _huffman(segments: list[Array], attributes: dict[str, list[int]], depth: int, low: int, count: int) -> Array:
    """Section 3.2."""
    zeros, leaves, starts = attributes["zeros"], attributes["leaves"], attributes["starts"]
    _require(len(zeros) == len(leaves) == depth, "zeros or leaves do not have one entry a level")
    bounds = [0, *starts, count]
    _require(1 <= len(starts) <= 255 and (len(starts) + 1) << low <= 256, "too few or too many leaves")
    _require(all(a < b for a, b in zip(bounds, bounds[1:], strict=False)), "starts do not increase")
    sizes = count - np.cumsum([0, *leaves])  # n_0 … n_D
    _require(min(leaves) >= 0 and sizes[-1] == 0, "the leaves do not add up to the elements")
    _require(set((count - sizes).tolist()) <= set(bounds), "a level ends inside a leaf")
    ordered = np.repeat(np.arange(len(starts) + 1), np.diff(bounds))
    below = np.zeros(0, np.int64)
    for level in reversed(range(depth)):
        size = int(sizes[level])
        _require(len(segments[level]) == (size + 7) // 8, "a level has the wrong length")
        bits = np.unpackbits(segments[level], count=size, bitorder="little").astype(np.int64)
        _require(size - int(bits.sum()) == zeros[level], "a level's count of zeros is wrong")
        merged = np.concatenate([ordered[count - size : count - size + leaves[level]], below])
        ones_before = np.cumsum(bits) - bits
        below = merged[np.where(bits == 1, zeros[level] + ones_before, np.arange(size) - ones_before)]
    high: Array = below << low
    return high | _packed(segments[depth:], low, count) if low else high


def _stream(encoded: Encoded, prefix: str, kind: str, count: int) -> Array:
    lists = {
        name: list(encoded.attributes.get(f"{prefix}_{name}", ())) for name in ("sizes", "zeros", "leaves", "starts")
    }
    segments = _segments(encoded.inputs[prefix], lists["sizes"])
    if kind[0] == "P":
        return _packed(segments, int(kind[1:]), count)
    depth, _, low = kind[1:].partition("L")
    return _huffman(segments, lists, int(depth), int(low or 0), count)


def _values(encoded: Encoded, kind: str, count: int) -> Array:
    if kind in RAW_DTYPES:
        values: Array = encoded.inputs["values"]
        _require(values.dtype == RAW_DTYPES[kind] and len(values) == count, "the raw values have the wrong type or length")
        return values
    indices = _stream(encoded, "v", kind, count)
    codebook: Array = encoded.inputs["codebook"]
    _require(int(indices.max(initial=0)) < len(codebook), "an index is outside the codebook")
    return codebook[indices]


def _gaps(encoded: Encoded, kinds: list[str], total: int) -> Array:
    """Section 4.3."""
    (entries,) = encoded.attributes["entries"]
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
    (groups, size), (_, kept) = encoded.attributes["groups"], encoded.attributes["kept"]
    _require(groups * size == total and 1 <= kept < size <= 256, "the groups do not fit the weight")
    positions = _stream(encoded, "p", kinds[0], groups * kept).reshape(groups, kept)
    _require(bool((np.diff(positions, axis=1) > 0).all()), "positions in a group do not increase")
    _require(int(positions.max(initial=0)) < size, "a position is outside its group")
    values = _values(encoded, kinds[1], groups * kept)
    rows = np.zeros((groups, size), values.dtype)
    np.put_along_axis(rows, positions, values.reshape(groups, kept), axis=1)
    moved = rows.reshape(encoded.attributes["moved"])
    return np.ascontiguousarray(moved.transpose(encoded.attributes["perm"])).reshape(-1)


def decode(encoded: Encoded) -> Array:
    """The weight, dense, in its shape and type.  Raises FormatError on any state that FORMAT.md forbids."""
    spec = spec_of(encoded.op_type)
    shape = encoded.attributes["shape"]
    _require(min(shape, default=1) >= 1, "a dimension is not positive")
    total = int(np.prod(shape, dtype=np.int64))
    if spec.layout == "Fill":
        return np.full(shape, encoded.inputs["value"][0])
    if spec.layout == "Dense":
        flat = _values(encoded, spec.values, total)
    else:
        flat = (_gaps if spec.layout == "Gaps" else _nm)(encoded, [spec.positions, spec.values], total)
    weight = flat.reshape(shape)
    if spec.scaled:
        table, codes = encoded.inputs["scales"], encoded.inputs["channels"]
        _require(int(codes.max(initial=0)) < len(table), "a scale code is outside the table")
        weight = weight * table[codes].reshape(encoded.attributes["scale_shape"])
    if spec.converted:
        weight = weight.astype({10: np.float16, 11: np.float64}[encoded.to])
    return weight
