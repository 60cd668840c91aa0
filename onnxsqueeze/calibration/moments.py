"""Second moments of what flows into a weight: E[x xᵀ] over all rows x that it is multiplied with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.matrices import Reading, transposed
from onnxsqueeze.model import roles

if TYPE_CHECKING:
    from onnx import NodeProto

Array = npt.NDArray[Any]

LARGEST = 6144  # side of a matrix that is kept whole; wider ones are kept as blocks along the diagonal
ROWS = 32768  # over all samples that are looked at, evenly spread
ROWS_LEAST, ROWS_MOST = 256, 4096  # of one sample
TOGETHER = 1024  # rows that are multiplied at once, where samples have fewer: adding to a large matrix is slow


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of the inputs of one weight, itself seen as [groups, outputs, inputs].

    For a table that is picked from by row there are no matrices, but how often each row was picked.
    """

    matrices: Array  # float32 [groups or 1, blocks, inputs / blocks, inputs / blocks]: E[x xᵀ]; empty for a table
    means: Array  # float32 [groups or 1, inputs]: E[x]
    frequencies: Array  # float32 [rows of a table]: picks over all picks; empty for other weights
    rows: int

    @property
    def diagonal(self) -> Array:
        """E[x²]: [groups or 1, inputs]."""
        found: Array = np.einsum("gbii->gbi", self.matrices)
        return found.reshape(len(found), -1)


@dataclass(eq=False)
class Gathering:
    """Adds up moments over samples."""

    reading: Reading
    most: int = ROWS_MOST  # rows of one sample
    _sums: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    _totals: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    _rows: int = 0
    _waiting: list[Array] = field(default_factory=list)

    def add(self, value: Array, reading: Reading) -> None:
        """Takes in the value of one sample; an empty one (a branch that did not run) counts nothing."""
        if value.size == 0:
            return
        if reading.kind == "rows":
            self._count(value)
            return
        inputs = rows_of(value, reading, self.most)
        if inputs is not None and inputs.size and np.isfinite(inputs).all():
            self.add_rows(inputs)

    def add_rows(self, inputs: Array) -> None:
        """Takes in finite rows, float32 [groups, rows, inputs]."""
        groups, count, width = inputs.shape
        if not self._rows:
            blocks = block_count(width)
            self._sums = np.zeros((groups, blocks, width // blocks, width // blocks), np.float32)
            self._totals = np.zeros((groups, width), np.float64)
        if (groups, width) != self._totals.shape:
            return
        self._totals += inputs.sum(axis=1, dtype=np.float64)
        self._rows += count
        self._waiting.append(inputs)
        if sum(rows.shape[1] for rows in self._waiting) >= TOGETHER:
            self._multiply()

    def _multiply(self) -> None:
        """Adds the products of the rows that wait."""
        if not self._waiting:
            return
        inputs, size = np.concatenate(self._waiting, axis=1), self._sums.shape[2]
        self._waiting.clear()
        for block in range(self._sums.shape[1]):
            part = inputs[:, :, block * size : (block + 1) * size]
            self._sums[:, block] += part.transpose(0, 2, 1) @ part

    def _count(self, value: Array) -> None:
        length = self.reading.seen[0]
        rows = value.reshape(-1).astype(np.int64)
        picked = np.bincount(np.where(rows < 0, rows + length, rows).clip(0, length - 1), minlength=length)
        self._totals = picked if not self._rows else self._totals + picked
        self._rows += rows.size

    def done(self) -> Moments | None:
        """The moments; None where no sample reached the weight."""
        if not self._rows:
            return None
        none = np.zeros(0, np.float32)
        if self.reading.kind == "rows":
            return Moments(none, none, (self._totals / self._rows).astype(np.float32), self._rows)
        self._multiply()
        means = (self._totals / self._rows).astype(np.float32)
        return Moments(self._sums / np.float32(self._rows), means, none, self._rows)


def block_count(width: int) -> int:
    """Blocks that a matrix of this side is kept in."""
    least = -(-width // LARGEST)
    return next(count for count in range(least, width + 1) if width % count == 0)


def rows_a_sample(samples: int) -> int:
    """Rows of one sample that are looked at, so that all samples together are enough and not too many."""
    return max(ROWS_LEAST, min(ROWS_MOST, -(-ROWS // samples)))


def rows_of(value: Array, reading: Reading, most: int = ROWS_MOST) -> Array | None:
    """The rows that the weight is multiplied with, float32 [groups or 1, rows, inputs]; None where shapes mislead."""
    value = value.astype(np.float32, copy=False)
    if reading.kind == "conv":
        return _patches(value, reading, most)
    if reading.kind == "conv_transpose":
        split = value.reshape(len(value), reading.groups, -1, int(np.prod(value.shape[2:])))
        return _spread(split.transpose(1, 0, 3, 2).reshape(reading.groups, -1, split.shape[2]), most)
    if reading.kind == "recurrent":
        return _spread(value.reshape(1, -1, value.shape[-1]), most)
    if reading.kind == "state":
        axis = 2 if roles.integer(reading.node, "layout", 0) else 1
        moved = np.moveaxis(value, axis, 0)
        return _spread(moved.reshape(len(moved), -1, value.shape[-1]), most)
    position = 0 if reading.kind == "product" else 1
    if value.ndim < 2:
        value = value.reshape(1, -1) if reading.kind == "product" else value.reshape(-1, 1)
    if transposed(reading.node, position) == (reading.kind == "product"):
        value = np.swapaxes(value, -1, -2)
    batches = reading.seen[:-2]
    if int(np.prod(batches)) == 1:
        return _spread(value.reshape(1, -1, value.shape[-1]), most)
    if value.shape[-2 - len(batches) : -2] != batches:
        return None
    moved = np.moveaxis(value, range(-2 - len(batches), -2), range(len(batches)))
    return _spread(moved.reshape(int(np.prod(batches)), -1, value.shape[-1]), most)


def _spread(rows: Array, most: int) -> Array:
    """At most so many rows, evenly spread: [groups, rows, inputs]."""
    return rows if rows.shape[1] <= most else rows[:, _places(rows.shape[1], most)]


def _places(total: int, most: int) -> Array:
    """At most so many of ``total`` places: one in each of equal spans, drawn, lest it be always the same column."""
    if total <= most:
        return np.arange(total)
    drawn = np.random.default_rng(0).random(most)
    return np.minimum(((np.arange(most) + drawn) * (total / most)).astype(np.int64), total - 1)


def _patches(value: Array, reading: Reading, most: int) -> Array | None:
    """What a convolution sees at each of its positions (im2col)."""
    kernel, node = reading.seen[2:], reading.node
    if value.ndim != len(kernel) + 2:
        return None
    strides, dilations = _ints(node, "strides", [1] * len(kernel)), _ints(node, "dilations", [1] * len(kernel))
    pads = _pads(node, value.shape[2:], kernel, strides, dilations)
    if min(least for pair in pads for least in pair) < 0:
        return None
    padded = np.pad(value, [(0, 0), (0, 0), *pads])
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    if any(size < wide for size, wide in zip(padded.shape[2:], reach, strict=True)):
        return None
    axes = tuple(range(2, value.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)  # [n, channels, places …, reach …]
    windows = windows[tuple(slice(None, None, step) for step in (1, 1, *strides, *dilations))]
    shape = (len(value), *windows.shape[2 : value.ndim])
    total = int(np.prod(shape))
    if not total:
        return None
    first, *places = np.unravel_index(_places(total, most), shape)
    picked: tuple[Any, ...] = (first, slice(None), *places)
    patches: Array = windows[picked]  # [rows, channels, kernel …]
    return patches.reshape(len(patches), reading.groups, -1).transpose(1, 0, 2)


def _pads(
    node: NodeProto, sizes: tuple[int, ...], kernel: tuple[int, ...], strides: list[int], dilations: list[int]
) -> list[tuple[int, int]]:
    """Zeros before and after each axis."""
    auto = roles.attribute(node, "auto_pad", b"NOTSET")
    if auto in (b"NOTSET", b""):
        given = _ints(node, "pads", [0] * (2 * len(kernel)))
        return [(given[i], given[i + len(kernel)]) for i in range(len(kernel))]
    pads = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        wanted = max(0, (-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size)
        wanted = 0 if auto == b"VALID" else wanted
        less, more = wanted // 2, wanted - wanted // 2
        pads.append((more, less) if auto == b"SAME_LOWER" else (less, more))
    return pads


def _ints(node: NodeProto, name: str, default: list[int]) -> list[int]:
    found = roles.attribute(node, name, default)
    return [int(v) for v in found] if isinstance(found, list) else default
