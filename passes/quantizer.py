"""One weight on a grid: entropy-constrained rounding, with errors carried to the inputs that follow.

A grid of uniform steps with borders moved by what the indices cost is, at all rates, close to the best
entropy-constrained scalar quantizer (Sullivan 1996). Where second moments of the inputs are known, what rounding does
to an output is made up for by the inputs not yet rounded (Frantar et al. 2023), here onto a codebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Scale, Sharing
from onnxsqueeze.encode.indices import reconstruct, row_chunks
from onnxsqueeze.passes.share import channel_scale
from onnxsqueeze.passes.surgeon import MANY, compensate, compensate_groups, factor, shrinkage
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.calibration.matrices import Reading
    from onnxsqueeze.calibration.moments import Moments
    from onnxsqueeze.calibration.residuals import Residual

Array = npt.NDArray[Any]

MOST_LEVELS = 255
FAINTEST = 1e-12  # share of all levels that no level's is taken to be below
BORDER = 0.1155 / 2  # λ / 2Δ² at which a bit is worth as much squared error here as by a finer grid: 6 dB a bit


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is known of the inputs of a weight, seen as [groups, outputs, inputs] through ``reading``."""

    reading: Reading
    matrices: Array  # float32 [groups or 1, blocks, width, width]: damped second moments
    uppers: Array  # float32, of the same shape: U with UᵀU = H⁻¹
    shares: Array  # float32 [groups or 1, blocks]: how much they are damped

    @staticmethod
    def of(reading: Reading, moments: Moments, centred: bool = False) -> Inputs:
        """From second moments as they were measured; ``centred``: of differences from the mean, the rest goes into a
        bias."""
        matrices = moments.matrices - _squared(moments.means, moments.means, moments) if centred else moments.matrices
        damped = np.array(matrices)
        uppers, shares = np.empty_like(damped), np.empty(damped.shape[:2], np.float32)
        for place in np.ndindex(damped.shape[:2]):
            share = shares[place] = np.float32(shrinkage(matrices[place], moments.rows))
            mean = np.float32(
                max(float(np.einsum("ii->", matrices[place], dtype=np.float64)) / matrices.shape[-1], 1e-20)
            )
            damped[place] *= 1 - share
            damped[place][np.diag_indices(matrices.shape[-1])] += share * mean
            uppers[place] = factor(damped[place], damping=0).upper
        return Inputs(reading, damped, uppers, shares)

    def parts(self, matrix: Array) -> Iterator[tuple[tuple[int, slice, slice], Array, Array]]:
        """Places of [outputs, inputs of a block] in a matrix, with second moments and U of each."""
        for place, own in self._places(matrix):
            yield place, self.matrices[own], self.uppers[own]

    def _places(self, matrix: Array) -> Iterator[tuple[tuple[int, slice, slice], tuple[int, int]]]:
        groups, blocks = self.matrices.shape[:2]
        width = matrix.shape[2] // blocks
        for group, block in np.ndindex(len(matrix), blocks):
            yield (group, slice(None), slice(block * width, (block + 1) * width)), (group % groups, block)

    def target(self, values: Array, residual: Residual, centred: bool) -> Array:
        """The weight whose outputs on changed inputs x̃ come closest to the original ones on the original inputs x.

        W + E[W (x - x̃) x̃ᵀ] H⁻¹: the layer makes up for what those before it changed (Li et al. 2025, GPTAQ), as far as
        so few rows can tell. These inputs are to be those of the residual.
        """
        matrix = np.array(self.reading.matrix(values.astype(np.float32, copy=False)))
        products = np.array(residual.products)
        if centred:
            lost = np.matmul(matrix, (residual.original_means - residual.moments.means)[:, :, None])
            products -= lost * residual.moments.means[:, None, :]
        for place, own in self._places(matrix):
            upper, kept = self.uppers[own], np.float32(1 - self.shares[own])
            matrix[place] += kept * (products[place] @ upper.T @ upper)
        return self.reading.restore(matrix).astype(values.dtype)


def _squared(left: Array, right: Array, moments: Moments) -> Array:
    """left rightᵀ of means, in the blocks that second moments are kept in."""
    shape = moments.matrices.shape[:3]
    found: Array = left.reshape(shape)[..., :, None] * right.reshape(shape)[..., None, :]
    return found


@dataclass(frozen=True, eq=False)
class Quantized:
    """A weight on a grid: what it becomes, the codebook behind it, and what it does to the outputs of its nodes."""

    values: Array
    sharing: Sharing
    error: float  # E ‖ΔW x‖²


class Quantizer:
    """A weight, ready to be put on grids of any step."""

    def __init__(self, values: Array, channel_axis: int | None, inputs: Inputs | None = None) -> None:
        self.values, self._inputs = values, inputs
        scale = None if channel_axis is None else channel_scale(values, channel_axis)
        self.scales: tuple[Scale | None, ...] = (None,) if scale is None else (None, scale)
        self._matrix = self._as_matrix(values.astype(np.float32, copy=False))
        self.energy = self.error_of(np.zeros_like(values))

    def step(self, fineness: float, scale: Scale | None) -> float:
        """The grid's step at ``fineness`` times the root mean square of the values over their scale."""
        normal = self._over(scale).astype(np.float64)
        return max(fineness * float(np.sqrt(np.mean(np.square(normal)))), 1e-30)

    def at(self, fineness: float, scale: Scale | None) -> Quantized | None:
        """The weight on a grid; None where that would take more than 255 levels."""
        factors = (
            None
            if scale is None
            else self._as_matrix(np.broadcast_to(scale.broadcast(self.values.ndim), self.values.shape))
        )
        step = self.step(fineness, scale)
        grid = _grid(self._matrix if factors is None else self._matrix / factors, step)
        if grid is None:
            return None
        levels, borders = grid
        indices = self._indices(levels, borders, factors)
        values = self._restored(indices, levels, scale)
        return Quantized(values, Sharing(levels, scale), self.error_of(values))

    def error_of(self, values: Array) -> float:
        """E ‖ΔW x‖² of a change to these values, summed over the outputs; without moments ‖ΔW‖²."""
        change = self._as_matrix(values.astype(np.float32, copy=False)) - self._matrix
        if self._inputs is None:
            return float(np.square(change, dtype=np.float64).sum())
        if self._inputs.matrices.shape[1] == 1:
            moved = np.matmul(change, self._inputs.matrices[:, 0])
            return float(np.einsum("goi,goi->", moved, change, dtype=np.float64))
        parts = ((change[place], matrix) for place, matrix, _ in self._inputs.parts(change))
        return sum(float(np.einsum("oi,oi->", part @ matrix, part, dtype=np.float64)) for part, matrix in parts)

    def _over(self, scale: Scale | None) -> Array:
        values = self.values.astype(np.float32, copy=False)
        return values if scale is None else values / scale.broadcast(values.ndim)

    def _as_matrix(self, values: Array) -> Array:
        """[groups, outputs, inputs]; without moments the values as one row."""
        return values.reshape(1, 1, -1) if self._inputs is None else self._inputs.reading.matrix(values)

    def _indices(self, levels: Array, borders: Array, factors: Array | None) -> Array:
        if self._inputs is None:
            normal = self._matrix if factors is None else self._matrix / factors
            return native.assign(np.ascontiguousarray(normal.reshape(-1)), borders).reshape(normal.shape)
        if len(self._matrix) >= MANY and self._inputs.uppers.shape[:2] == (len(self._matrix), 1):
            return _carried_together(self._matrix, self._inputs.uppers[:, 0], levels, borders, factors)
        found = np.empty(self._matrix.shape, np.uint8)
        for place, _, upper in self._inputs.parts(self._matrix):
            own = None if factors is None else factors[place]
            found[place] = _carried(self._matrix[place], upper, levels, borders, own)
        return found

    def _restored(self, indices: Array, levels: Array, scale: Scale | None) -> Array:
        """The values that indices stand for, in the weight's own shape and type, as decoding makes them."""
        own = indices.reshape(self.values.shape) if self._inputs is None else self._inputs.reading.restore(indices)
        result = np.empty_like(self.values)
        for rows in row_chunks(self.values.shape):
            result[rows] = reconstruct(levels, own[rows], scale, rows, self.values.dtype)
        return result


def _carried(weights: Array, upper: Array, levels: Array, borders: Array, factors: Array | None) -> Array:
    """Which level each weight takes, errors carried to the inputs that follow: uint8 [outputs, inputs].

    ``factors``: shaped like the weights: what levels and borders are multiplied with; None for 1.
    """
    found = np.empty(weights.T.shape, np.uint8)
    scales = None if factors is None else np.ascontiguousarray(factors.T)

    def change(j: int, now: Array) -> Array:
        found[j] = native.assign(now if scales is None else now / scales[j], borders)
        chosen: Array = levels[found[j]]
        return chosen if scales is None else chosen * scales[j]

    compensate(weights, upper, lambda start, columns: change)
    return found.T


def _carried_together(weights: Array, uppers: Array, levels: Array, borders: Array, factors: Array | None) -> Array:
    """The same for many groups: uint8 [groups, outputs, inputs]."""
    found = np.empty((weights.shape[2], *weights.shape[:2]), np.uint8)
    scales = None if factors is None else np.ascontiguousarray(factors.transpose(2, 0, 1))

    def change(j: int, now: Array) -> Array:
        normal = now if scales is None else now / scales[j]
        found[j] = native.assign(np.ascontiguousarray(normal.reshape(-1)), borders).reshape(now.shape)
        chosen: Array = levels[found[j]]
        return chosen if scales is None else chosen * scales[j]

    compensate_groups(weights, uppers, change)
    return found.transpose(1, 2, 0)


def _grid(normal: Array, step: float) -> tuple[Array, Array] | None:
    """Levels (float32, sorted, zero among them) and the borders between them; None for over 255 levels."""
    low, high = np.rint(float(normal.min()) / step), np.rint(float(normal.max()) / step)
    if high - low + 1 > MOST_LEVELS or not np.isfinite(high - low):
        return None
    places = np.arange(min(low, 0), max(high, 0) + 1)
    if len(places) > MOST_LEVELS:
        return None
    levels = (places * step).astype(np.float32)
    if len(levels) == 1:
        return levels, np.zeros(0, np.float32)
    middles = ((levels[1:].astype(np.float64) + levels[:-1]) / 2).astype(np.float32)
    counts = np.bincount(native.assign(np.ascontiguousarray(normal.reshape(-1)), middles), minlength=len(levels))
    bits = -np.log2(np.maximum(counts / counts.sum(), max(FAINTEST, 0.25 / counts.sum())))
    bits = np.minimum(bits, 24)
    borders = middles + step * np.clip(BORDER * np.diff(bits), -0.45, 0.45)
    return levels, np.maximum.accumulate(borders).astype(np.float32)
