"""Weights coded given older ones (UPDATE.md, section 5): the same steps write and read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.indices import row_chunks
from onnxsqueeze.encode.names import spec_of, split_kind
from onnxsqueeze.encode.order import ordered, unordered
from onnxsqueeze.errors import FormatError
from onnxsqueeze.ota.forms import EMPTY, NO_SLOT, Form, Kind
from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

FEWEST_STILL = 4  # low bits in which nothing differs, from which on they are left out

NOTHING = Form(np.zeros(0, np.float32), EMPTY, EMPTY, EMPTY, 1, np.zeros(0, np.float32), np.zeros(0, np.uint8), EMPTY)


class Coder(Protocol):
    """What arrays go through: writes ``values``, or reads them where None is given."""

    def code(self, values: Array | None, old: Array, width: int) -> Array:
        """The values, flat, given older ones of the same type and number."""


@dataclass(frozen=True)
class Older:
    """What is known of the weight that a new one follows."""

    values: Array  # dense, in its shape and type
    form: Form = NOTHING


def plain(coder: Coder, values: Array | None, dtype: str, shape: tuple[int, ...], count: int, old: Older) -> Array:
    """A tensor of ``count`` elements as ONNX stores it, flat."""
    before, width = _fitted(old.values, shape, dtype, count), _width(shape, count)
    if before.dtype.kind != "f":
        return coder.code(values, before, width)
    given = None if values is None else ordered(values)
    base = ordered(before)
    shift = int(coder.code(None if given is None else _shift(given, base), np.zeros(1, np.uint8), 1)[0])
    if shift == 0:
        return coder.code(values, before, width)
    if shift >= 8 * base.itemsize:
        raise FormatError("the update is damaged: a tensor moves in steps that its type does not have")
    found = coder.code(None if given is None else given >> shift, base >> shift, width)
    kept = base & base.dtype.type((1 << shift) - 1)
    return unordered(found << base.dtype.type(shift) | kept)


def _shift(now: Array, old: Array) -> Array:
    """The low bits in which no element differs, where they are many; else 0: uint8 [1]."""
    differing = int(np.bitwise_or.reduce(now ^ old)) if now.size else 0
    shift = (differing & -differing).bit_length() - 1 if differing else 0
    return np.array([shift if shift >= FEWEST_STILL else 0], np.uint8)


def packed(coder: Coder, form: Form | None, kind: Kind, old: Older) -> Form:
    """What a packed weight of the old one's shape says; raises FormatError where it cannot be one."""
    spec, shape = spec_of(kind.op_type), kind.shape
    total = math.prod(shape)
    if old.values.size != total or total == 0:
        raise FormatError("the update is damaged: a weight does not have the shape of the one that it follows")
    length, longest = map(int, coder.code(_head(form) if form else None, _head(old.form), 2))
    if length > 256 or not 1 <= longest <= 255:
        raise FormatError("the update is damaged: a codebook is too long")
    sizes = {
        "value_levels": _depth(spec.values),
        "position_levels": _depth(spec.positions),
        "book": length,
        "slots": length,
        "scales": kind.counts.get("scales", 0),
        "channels": kind.counts.get("channels", 0),
    }
    if max(sizes.values()) > max(total, NO_SLOT):
        raise FormatError("the update is damaged: a scale does not fit its weight")
    found = {name: _part(coder, name, size, form, old.form) for name, size in sizes.items()}
    if spec.raw:
        grid = coder.code(None if form is None else form.grid, old.values.reshape(-1), _width(shape, total))
    else:
        before = _ranks(old.values, kind, found)
        grid = coder.code(None if form is None else form.grid, before, _width(shape, total))
    if not spec.raw and (length == 0 or int(grid.max(initial=0)) >= length):
        raise FormatError("the update is damaged: an index is outside the codebook")
    return Form(**found, longest=longest, grid=grid)


def _head(form: Form) -> Array:
    return np.array([len(form.book), form.longest], np.uint16)


def _part(coder: Coder, name: str, size: int, form: Form | None, old: Form) -> Array:
    before = getattr(old, name)
    fitted = np.zeros(size, before.dtype)
    fitted[: min(size, len(before))] = before[:size]
    return coder.code(None if form is None else getattr(form, name), fitted, size)


def _depth(kind: str) -> int:
    """Levels of a stream of this kind."""
    return split_kind(kind)[0] if kind.startswith("H") else 0


def _width(shape: tuple[int, ...], count: int) -> int:
    """Elements of a row: all dimensions but the first."""
    return count // shape[0] if len(shape) > 1 and shape[0] else max(1, count)


def _fitted(old: Array, shape: tuple[int, ...], dtype: str, count: int) -> Array:
    """Old values cut, or filled up with zeros, to a new shape and type."""
    if old.dtype != dtype:
        old = old.astype(dtype) if old.dtype.kind == "f" and np.dtype(dtype).kind == "f" else np.zeros(0, dtype)
    if old.size == count:
        return old.reshape(-1)
    if old.ndim == len(shape) and math.prod(shape) == count:
        result = np.zeros(shape, dtype)
        common = tuple(slice(min(a, b)) for a, b in zip(old.shape, shape, strict=True))
        result[common] = old[common]
        return result.reshape(-1)
    flat = np.zeros(count, dtype)
    flat[: min(count, old.size)] = old.reshape(-1)[:count]
    return flat


def _ranks(old: Array, kind: Kind, found: dict[str, Array]) -> Array:
    """For each old value, over the new scale, which value of the new book is nearest."""
    book = found["book"]
    if not np.isfinite(book).all() or len(book) == 0:
        raise FormatError("the update is damaged: a codebook holds no numbers")
    middles = ((book[1:].astype(np.float64) + book[:-1]) / 2).astype(np.float32)
    shape, factors = kind.shape, _factors(kind, found)
    ranks = np.empty(shape, np.uint8)
    old = old.reshape(shape)
    with np.errstate(all="ignore"):
        for rows in row_chunks(shape):
            block = old[rows].astype(np.float32)
            if factors is not None:
                block /= factors[rows] if factors.shape[0] > 1 else factors
            block = np.clip(np.nan_to_num(block), book[0], book[-1])
            ranks[rows] = native.assign(block.reshape(-1), middles).reshape(block.shape)
    return ranks.reshape(-1)


def _factors(kind: Kind, found: dict[str, Array]) -> Array | None:
    """The scale of each channel, shaped to divide the weight."""
    if "scale_shape" not in kind.attributes:
        return None
    scales, channels, shape = found["scales"], found["channels"], kind.attributes["scale_shape"]
    fits = len(shape) == len(kind.shape) and all(a in (1, b) for a, b in zip(shape, kind.shape, strict=True))
    if not fits or math.prod(shape) != len(channels) or int(channels.max(initial=0)) >= len(scales):
        raise FormatError("the update is damaged: a scale does not fit its weight")
    factors: Array = scales[channels].reshape(shape)
    return factors
