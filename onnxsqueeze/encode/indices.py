"""From dense values to codebook indices: the annotation's codebook where it fits, else the distinct values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.note import Floats, Scale, Sharing
from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

CHUNK = 1 << 20  # elements looked at together
SAMPLE = 1 << 12


@dataclass(frozen=True, eq=False)
class Indexed:
    """``values == codebook[indices] * scale``, bit for bit."""

    codebook: Floats  # sorted
    indices: npt.NDArray[np.uint8]  # flat
    counts: npt.NDArray[np.int64]  # per codebook entry
    scale: Scale | None


def row_chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis that hold about ``CHUNK`` elements each."""
    rows = max(1, shape[0] * CHUNK // max(1, int(np.prod(shape))))
    return (slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows))


def scale_slice(scale: Scale, ndim: int, rows: slice) -> Floats:
    """The broadcast scale of some rows of the weight."""
    factors = scale.broadcast(ndim)
    return factors[rows] if scale.axis == 0 else factors


def reconstruct(codebook: Floats, indices: Array, scale: Scale | None, rows: slice, dtype: Any) -> Array:
    """Dense values of some rows; ``indices`` in the rows' shape."""
    values: Array = codebook[indices]
    if scale is not None:
        values = values * scale_slice(scale, values.ndim, rows)
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def _with_zero(codebook: Floats) -> Floats:
    zero = np.zeros(1, np.float32)
    return codebook if (codebook == 0).any() else np.sort(np.concatenate([codebook, zero]))


def _same_bits(left: Array, right: Array) -> bool:
    return left.tobytes() == right.tobytes()


def from_sharing(values: Array, sharing: Sharing) -> Indexed | None:
    """Finds the indices of shared values again; None where the values have changed since."""
    codebook = sharing.codebook
    if len(codebook) < 256:
        codebook = _with_zero(codebook)
    middles = ((codebook[1:].astype(np.float64) + codebook[:-1]) / 2).astype(np.float32)
    indices = np.empty(values.shape, np.uint8)
    counts = np.zeros(256, np.int64)
    for rows in row_chunks(values.shape):
        with np.errstate(over="ignore"):
            block = values[rows].astype(np.float32)
        if sharing.scale is not None:
            block /= scale_slice(sharing.scale, values.ndim, rows)
        found = native.assign(block.reshape(-1), middles).reshape(block.shape)
        if not _same_bits(reconstruct(codebook, found, sharing.scale, rows, values.dtype), values[rows]):
            return None
        indices[rows] = found
        counts += np.bincount(found.reshape(-1), minlength=256)
    return _trimmed(codebook, indices.reshape(-1), counts, sharing.scale)


def _trimmed(codebook: Floats, indices: npt.NDArray[np.uint8], counts: Array, scale: Scale | None) -> Indexed:
    """Drops codebook entries that no value uses."""
    counts = counts[: len(codebook)]
    used = counts > 0
    if used.all():
        return Indexed(codebook, indices, counts, scale)
    renumber = np.maximum(np.cumsum(used) - 1, 0).astype(np.uint8)
    return Indexed(codebook[used], renumber[indices], counts[used], scale)


def from_distinct(values: Array) -> Indexed | None:
    """A codebook of the distinct values where there are at most 256, all of them exact in float32."""
    flat = values.reshape(-1)
    step = max(1, len(flat) // SAMPLE)
    if len(np.unique(flat[::step])) > 256 or not np.isfinite(flat[:SAMPLE]).all():
        return None
    distinct = np.unique(flat)
    if len(distinct) > 256 or not np.isfinite(distinct).all():
        return None
    with np.errstate(over="ignore"):
        codebook = distinct.astype(np.float32)
    if (codebook.astype(values.dtype) != distinct).any():
        return None
    return from_sharing(values, Sharing(codebook))
