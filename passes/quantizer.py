"""One weight on a grid: entropy-constrained rounding, where second moments of the inputs are known for the outputs.

A grid of uniform steps with borders moved by what the indices cost is, at all rates, close to the best
entropy-constrained scalar quantizer (Sullivan 1996). What a bit may cost is the same everywhere; the less an input
matters, the more of its weights become zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Scale, Sharing
from onnxsqueeze.encode.indices import reconstruct, row_chunks
from onnxsqueeze.passes import descent
from onnxsqueeze.passes.clusters import Cells, merge_cheapest
from onnxsqueeze.passes.share import channel_scale
from onnxsqueeze.passes.surgeon import MANY, factor, shrinkage
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.calibration.matrices import Reading
    from onnxsqueeze.calibration.moments import Moments
    from onnxsqueeze.calibration.residuals import Residual

Array = npt.NDArray[Any]

MOST_LEVELS, MOST_STEPS = 255, 1 << 14  # of a grid, and steps from its lowest to its highest level
CHUNK = 1 << 20  # values that are counted together
FIRM = 1 << 40  # values that zero counts as, so that it stays where it is
BIT = np.log(2) / 6  # of squared steps: what a bit is worth where a finer grid takes it, at 6 dB a bit
WORTH, DOUBT = 0.7, 1.5  # share of it that serves inputs never seen best, and how it falls where few were seen
ROUNDING = 1e-6  # of float32 sums, over the sums
SWEEPS = 2  # over all inputs, after errors were carried


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
        matrices = _centred(moments) if centred else moments.matrices
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

    def stacks(self, matrix: Array) -> Iterator[tuple[tuple[slice, slice, slice], Array, Array]]:
        """The same with places of [groups, outputs, inputs of a block] and as many moments: many groups together."""
        if len(matrix) >= MANY and self.uppers.shape[:2] == (len(matrix), 1):
            yield (slice(None), slice(None), slice(None)), self.matrices[:, 0], self.uppers[:, 0]
            return
        for (group, outputs, inputs), moments, upper in self.parts(matrix):
            yield (slice(group, group + 1), outputs, inputs), moments[None], upper[None]

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


def _centred(moments: Moments) -> Array:
    """Second moments of differences from the mean; zero for inputs of which rounding leaves nothing else."""
    matrices: Array = moments.matrices - _squared(moments.means, moments.means, moments)
    before, after = (np.einsum("...ii->...i", m) for m in (moments.matrices, matrices))
    constant = after <= ROUNDING * before
    matrices[constant] = 0
    matrices.swapaxes(-1, -2)[constant] = 0
    return matrices


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
        """The weight on a grid; None where it is thousands of steps wide.

        Where more levels than 255 would be needed, outliers make do with some of them.
        """
        factors = (
            None
            if scale is None
            else self._as_matrix(np.broadcast_to(scale.broadcast(self.values.ndim), self.values.shape))
        )
        normal = self._matrix if factors is None else self._matrix / factors
        step = self.step(fineness, scale)
        levels = _levels(normal, step)
        if levels is None:
            return None
        if self._inputs is None:
            indices = _rounded(normal, levels, step)
        else:
            indices = self._fitted(self._inputs, levels, step, factors)
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

    def _fitted(self, inputs: Inputs, levels: Array, step: float, factors: Array | None) -> Array:
        """Indices that keep the outputs and take few bits: uint8 [groups, outputs, inputs]."""
        layers, places = [], []
        for place, moments, uppers in inputs.stacks(self._matrix):
            scales = None if factors is None else _columns(factors[place])
            layers.append(descent.Layer(_columns(self._matrix[place]), moments, uppers, scales))
            places.append(place)
        found, damped = np.empty(self._matrix.shape, np.uint8), float(inputs.shares.mean())
        worth = BIT * WORTH * (1 - damped) ** DOUBT
        for place, indices in zip(places, descent.rounded(layers, levels, step, worth, SWEEPS), strict=True):
            found[place] = indices.transpose(0, 2, 1)
        return found

    def _restored(self, indices: Array, levels: Array, scale: Scale | None) -> Array:
        """The values that indices stand for, in the weight's own shape and type, as decoding makes them."""
        own = indices.reshape(self.values.shape) if self._inputs is None else self._inputs.reading.restore(indices)
        result = np.empty_like(self.values)
        for rows in row_chunks(self.values.shape):
            result[rows] = reconstruct(levels, own[rows], scale, rows, self.values.dtype)
        return result


def _columns(matrix: Array) -> Array:
    """[groups, outputs, inputs] as [groups, inputs, outputs]."""
    return np.ascontiguousarray(matrix.transpose(0, 2, 1))


def _rounded(normal: Array, levels: Array, step: float) -> Array:
    """Indices of levels between borders that are moved by what the indices cost, shaped as the values."""
    if len(levels) == 1:
        return np.zeros(normal.shape, np.uint8)
    middles = ((levels[1:].astype(np.float64) + levels[:-1]) / 2).astype(np.float32)
    gaps = np.diff(levels)
    flat = np.ascontiguousarray(normal.reshape(-1))
    bits = descent.code_bits(np.bincount(native.assign(flat, middles), minlength=len(levels)))
    borders = middles + gaps * np.clip(BIT / 2 * np.square(step / gaps) * np.diff(bits), -0.45, 0.45)
    return native.assign(flat, np.maximum.accumulate(borders).astype(np.float32)).reshape(normal.shape)


def _levels(normal: Array, step: float) -> Array | None:
    """Multiples of the step that values need, rising, zero among them, float32; None for too wide a range."""
    least, most = (min(0.0, np.rint(normal.min() / step)), max(0.0, np.rint(normal.max() / step)))
    if not most - least < MOST_STEPS:
        return None
    places = np.arange(least, most + 1)
    if len(places) > MOST_LEVELS:
        places = _fewer(places, _counts(normal.reshape(-1), step, places))
    return (places * step).astype(np.float32)


def _counts(values: Array, step: float, places: Array) -> Array:
    """How many values lie next to each place: int64 [places]."""
    counts = np.zeros(len(places), np.int64)
    for start in range(0, len(values), CHUNK):
        near = np.rint(values[start : start + CHUNK] / np.float32(step)) - places[0]
        counts += np.bincount(np.clip(near, 0, len(places) - 1).astype(np.int64), minlength=len(places))
    return counts


def _fewer(places: Array, counts: Array) -> Array:
    """As many places as a codebook holds: all where values are, and others next to zero.

    Where these are too many, two that lie close and have few values become one, again and again.
    """
    taken = (counts > 0) | (places == 0)
    spare = MOST_LEVELS - int(taken.sum())
    if spare >= 0:
        unused = np.flatnonzero(~taken)
        taken[unused[np.argsort(np.abs(places[unused]), kind="stable")[:spare]]] = True
        return np.asarray(places[taken])
    weights = np.where(places == 0, FIRM, counts)[taken].astype(np.float64)
    return np.rint(merge_cheapest(Cells(weights, weights * places[taken]), MOST_LEVELS).centers) + 0.0  # never -0.0
