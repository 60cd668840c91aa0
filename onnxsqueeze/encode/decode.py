"""The native decoder: a weight put together from the C++ library's codecs (FORMAT.md, section 4)."""

from __future__ import annotations

import math
import operator
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.names import Spec, spec_of, split_kind
from onnxsqueeze.encode.streams import PLANES
from onnxsqueeze.errors import FormatError
from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

MAX_ELEMENTS = 1 << 28
MAX_RANK = 32
_FLOATS = (np.float16, np.float32, np.float64)
_RAW = {"Raw16": np.float16, "Raw32": np.float32, "Raw64": np.float64}
_CONVERTED = {10: "float16", 11: "float64"}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(f"packed weight is corrupt: {what}")


def _one(encoded: Encoded, name: str, count: int) -> list[int]:
    """An attribute that must be there with ``count`` entries."""
    values = encoded.attributes.get(name)
    if values is None or len(values) != count:
        raise FormatError(f"packed weight is corrupt: attribute '{name}' does not have {count} entries")
    return values


def _input(encoded: Encoded, name: str, *dtypes: Any) -> Array:
    """An input that must be there, as a vector of one of these types."""
    array = encoded.inputs.get(name)
    if array is None or array.ndim != 1 or array.dtype not in dtypes:
        raise FormatError(f"packed weight is corrupt: input '{name}' is missing or no vector of its type")
    return array


def _shape(encoded: Encoded) -> tuple[tuple[int, ...], int]:
    shape = tuple(encoded.attributes.get("shape", ()))
    _require(1 <= len(shape) <= MAX_RANK, "the shape does not have 1 to 32 dimensions")
    _require(all(0 < d < MAX_ELEMENTS for d in shape), "a dimension is not positive, or has 2^28 elements or more")
    total = math.prod(shape)
    _require(total < MAX_ELEMENTS, "the weight has 2^28 elements or more")
    return shape, total


def _stream(encoded: Encoded, prefix: str, kind: str, count: int, threads: int) -> Array:
    depth, bits = split_kind(kind)
    payload = _input(encoded, prefix, np.uint8)
    sizes = _one(encoded, f"{prefix}_sizes", depth + len(PLANES[bits]))
    if depth == 0:
        values = native.unpack(payload, sizes, bits, count)
        _check_padding(payload, sizes, [(count, width) for width in PLANES[bits]])
        return values
    zeros, leaves = _one(encoded, f"{prefix}_zeros", depth), _one(encoded, f"{prefix}_leaves", depth)
    starts = encoded.attributes.get(f"{prefix}_starts", [])
    values = native.huffman_decode(payload, sizes, zeros, leaves, starts, bits, count, threads)
    left = accumulate(leaves[:-1], operator.sub, initial=count)
    _check_padding(payload, sizes, [(n, 1) for n in left] + [(count, width) for width in PLANES[bits]])
    return values


def _check_padding(payload: Array, sizes: list[int], fields: list[tuple[int, int]]) -> None:
    """The bits after each segment's last element must be 0: a body that reads whole blocks takes them in.

    ``fields``: elements and bits an element of each segment, whose lengths have been checked.
    """
    for end, size, (count, width) in zip(accumulate(sizes), sizes, fields, strict=True):
        used = count * width
        tail = int.from_bytes(payload[end - size + used // 8 : end].tobytes(), "little")
        _require(tail >> used % 8 == 0, "the unused bits of a segment are not 0")


def _scale(encoded: Encoded, spec: Spec, shape: tuple[int, ...]) -> native.ChannelScale | None:
    if not spec.scaled:
        return None
    wanted = _one(encoded, "scale_shape", len(shape))
    axes = [i for i, d in enumerate(wanted) if d != 1]
    table, codes = _input(encoded, "scales", np.float32), _input(encoded, "channels", np.uint8)
    axis = axes[0] if axes else next((i for i, d in enumerate(shape) if d == 1), 0)
    _require(len(axes) <= 1 and wanted[axis] == shape[axis] == len(codes), "the scale does not fit the weight")
    _require(0 < len(table) <= 256 and bool((np.isfinite(table) & (table > 0)).all()), "a scale is not positive")
    return native.ChannelScale(table, codes, math.prod(shape[:axis]), math.prod(shape[axis + 1 :]))


def _check_total(encoded: Encoded, total: int) -> None:
    _require(_one(encoded, "total", 1) == [total], "attribute 'total' does not fit the shape")


def _raw_values(encoded: Encoded, kind: str, count: int) -> Array:
    values = _input(encoded, "values", _RAW[kind])
    _require(len(values) == count, "the raw values have the wrong number")
    return values


def _codebook(encoded: Encoded, kind: str) -> Array:
    codebook = _input(encoded, "codebook", np.float32)
    depth, bits = split_kind(kind)
    needed = 1 << bits if kind in ("P1", "P2", "P4") else 1
    if depth:
        needed = len(encoded.attributes.get("v_starts", [])) + 1 << bits
    _require(needed <= len(codebook) <= 256, "the codebook has too few or too many entries")
    return codebook


def _scatter(encoded: Encoded, spec: Spec, total: int, threads: int) -> Array:
    """The flat weight of a sparse layout, before scale and type."""
    (count,) = _one(encoded, "entries", 1)
    _require(1 <= count <= total, "the number of entries does not fit the weight")
    positions = _stream(encoded, "p", spec.positions, count, threads)
    if spec.raw:
        values = _raw_values(encoded, spec.values, count)
    else:
        values = native.lookup(_stream(encoded, "v", spec.values, count, threads), _codebook(encoded, spec.values))
    if spec.layout == "Gaps":
        _check_total(encoded, total)
        return native.scatter_gaps(positions, values, total)
    (groups, size), (rows, kept) = _one(encoded, "groups", 2), _one(encoded, "kept", 2)
    _require(rows == groups > 0 and 1 <= kept < size <= 256, "the groups do not fit the weight")
    _require(groups * size == total and groups * kept == count, "the groups do not fit the weight")
    _require(
        spec.positions == f"P{max(1, (size - 1).bit_length())}",
        "the name does not fit the size of the groups",
    )
    return _ungroup(encoded, native.scatter_nm(positions, values, groups, size, kept))


def _ungroup(encoded: Encoded, rows: Array) -> Array:
    moved, perm = encoded.attributes.get("moved", []), encoded.attributes.get("perm", [])
    shape = encoded.attributes["shape"]
    _require(sorted(perm) == list(range(len(shape))) and len(moved) == len(shape), "perm is no transposition")
    _require([moved[p] for p in perm] == list(shape), "moved and perm do not give the shape")
    return np.ascontiguousarray(rows.reshape(moved).transpose(perm)).reshape(-1)


def decode(encoded: Encoded, threads: int = 1) -> Array:
    """The weight, dense, in its shape and type; raises FormatError on any state that FORMAT.md forbids."""
    spec = spec_of(encoded.op_type)
    shape, total = _shape(encoded)
    if spec.layout == "Fill":
        value = _input(encoded, "value", *_FLOATS)
        _require(len(value) == 1, "the value is not a single one")
        return np.full(shape, value[0])
    _require(not spec.converted or encoded.to in _CONVERTED, "attribute 'to' is neither float16 nor float64")
    dtype = _CONVERTED[encoded.to] if spec.converted else "float32"
    scale = _scale(encoded, spec, shape)
    if spec.layout == "Dense":
        _require(spec.tail == (total % 8 != 0), "the name does not say whether there is a tail")
        _check_total(encoded, total)
        indices = _stream(encoded, "v", spec.values, total, threads)
        return native.lookup(indices, _codebook(encoded, spec.values), scale, dtype).reshape(shape)
    flat = _scatter(encoded, spec, total, threads)
    if scale is not None or spec.converted:
        flat = native.rescale(flat, scale, dtype)
    return flat.reshape(shape)
