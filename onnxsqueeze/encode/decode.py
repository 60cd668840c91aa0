"""The native decoder: a weight put together from the C++ library's codecs (FORMAT.md, section 4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.names import Spec, spec_of, split_kind
from onnxsqueeze.errors import FormatError
from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

MAX_ELEMENTS = 1 << 28
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


def _shape(encoded: Encoded) -> tuple[tuple[int, ...], int]:
    shape = tuple(encoded.attributes.get("shape", ()))
    _require(len(shape) > 0 and all(0 < d < MAX_ELEMENTS for d in shape), "the shape has a dimension below 1 or none")
    total = math.prod(shape)
    _require(total < MAX_ELEMENTS, "the weight has 2^28 elements or more")
    return shape, total


def _stream(encoded: Encoded, prefix: str, kind: str, count: int, threads: int) -> Array:
    depth, bits = split_kind(kind)
    payload = encoded.inputs[prefix]
    sizes = encoded.attributes.get(f"{prefix}_sizes", [])
    if depth == 0:
        return native.unpack(payload, sizes, bits, count)
    zeros, leaves = _one(encoded, f"{prefix}_zeros", depth), _one(encoded, f"{prefix}_leaves", depth)
    starts = encoded.attributes.get(f"{prefix}_starts", [])
    return native.huffman_decode(payload, sizes, zeros, leaves, starts, bits, count, threads)


def _scale(encoded: Encoded, spec: Spec, shape: tuple[int, ...]) -> native.ChannelScale | None:
    if not spec.scaled:
        return None
    wanted = _one(encoded, "scale_shape", len(shape))
    axes = [i for i, d in enumerate(wanted) if d != 1]
    table, codes = encoded.inputs["scales"], encoded.inputs["channels"]
    axis = axes[0] if axes else next((i for i, d in enumerate(shape) if d == 1), 0)
    _require(len(axes) <= 1 and wanted[axis] == shape[axis] == len(codes), "the scale does not fit the weight")
    _require(0 < len(table) <= 256 and bool((np.isfinite(table) & (table > 0)).all()), "a scale is not positive")
    return native.ChannelScale(table, codes, math.prod(shape[:axis]), math.prod(shape[axis + 1 :]))


def _raw_values(encoded: Encoded, kind: str, count: int) -> Array:
    values = encoded.inputs["values"]
    _require(values.dtype == _RAW[kind] and len(values) == count, "the raw values have the wrong type or number")
    return values


def _scatter(encoded: Encoded, spec: Spec, total: int, threads: int) -> Array:
    """The flat weight of a sparse layout, before scale and type."""
    (count,) = _one(encoded, "entries", 1)
    _require(1 <= count <= total, "the number of entries does not fit the weight")
    positions = _stream(encoded, "p", spec.positions, count, threads)
    if spec.raw:
        values = _raw_values(encoded, spec.values, count)
    else:
        values = native.lookup(_stream(encoded, "v", spec.values, count, threads), encoded.inputs["codebook"])
    if spec.layout == "Gaps":
        return native.scatter_gaps(positions, values, total)
    (groups, size), (rows, kept) = _one(encoded, "groups", 2), _one(encoded, "kept", 2)
    _require(rows == groups > 0 and 1 <= kept < size <= 256, "the groups do not fit the weight")
    _require(groups * size == total and groups * kept == count, "the groups do not fit the weight")
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
        _require(len(encoded.inputs["value"]) == 1, "the value is not a single one")
        return np.full(shape, encoded.inputs["value"][0])
    _require(not spec.converted or encoded.to in _CONVERTED, "attribute 'to' is neither float16 nor float64")
    dtype = _CONVERTED[encoded.to] if spec.converted else "float32"
    scale = _scale(encoded, spec, shape)
    if spec.layout == "Dense":
        _require(spec.tail == (total % 8 != 0), "the name does not say whether there is a tail")
        indices = _stream(encoded, "v", spec.values, total, threads)
        return native.lookup(indices, encoded.inputs["codebook"], scale, dtype).reshape(shape)
    flat = _scatter(encoded, spec, total, threads)
    if scale is not None or spec.converted:
        _require(flat.dtype == np.float32, "only float32 values are scaled or converted")
        flat = native.rescale(flat, scale, dtype)
    return flat.reshape(shape)
