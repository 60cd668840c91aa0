"""Pairs of units that are alike, merged one after the other (Srinivas & Babu 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

if TYPE_CHECKING:
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

EXACT_UP_TO = 2e10  # multiplications of a matrix of differences that is computed in float64; larger ones in float32
DOUBTFUL = 1e-4  # relative difference, squared, under which differences are computed anew
ROUNDING = 1e-12  # relative difference, squared, under which two units are the same
ROWS = 256  # of the table that one worker fills at a time


@dataclass(frozen=True, eq=False)
class Sequence:
    """Merges in the order in which they are made, down to one unit: ``into[t]`` takes over from ``gone[t]``."""

    width: int
    gone: npt.NDArray[np.int64]
    into: npt.NDArray[np.int64]
    ratios: Array  # what is added to the weights that read ``into``: so many times those that read ``gone``
    saliency: Array  # mean square of the weights that read ``gone``, times the squared difference

    def transfer(self, count: int) -> tuple[npt.NDArray[np.int64], Any]:
        """What stays after so many merges, and the sparse matrix [kept, width] that makes the new reading weights."""
        root, share = np.arange(self.width), np.ones(self.width)
        for gone, into, ratio in zip(self.gone[:count], self.into[:count], self.ratios[:count], strict=True):
            moved = root == gone
            root[moved], share[moved] = into, share[moved] * ratio
        kept = np.setdiff1d(np.arange(self.width), self.gone[:count])
        rows = np.searchsorted(kept, root)
        matrix = scipy.sparse.csr_matrix((share, (rows, np.arange(self.width))), (len(kept), self.width))
        return kept, matrix


def sequence(scaled: Array, fixed: Array, readers: Array, factors: bool, context: Context) -> Sequence:
    """Merges the pair of least saliency, again and again.

    s_ij = ⟨a_j²⟩·‖ε_ij‖²: a_j are the weights that read unit j, ε_ij is the difference of what makes the two units.
    Merging j into i adds a_j to a_i; the differences stay as they are, and only ⟨a_i²⟩ is updated. With ``factors``
    ε_ij = w_j - r·w_i with the best r ≥ 0 for the scaled part, and r·a_j is added. A unit like no other is dropped,
    which is r = 0.

    Args:
        scaled: [width, n] weights and biases of each unit.
        fixed: [width, n] what factors do not apply to.
        readers: [width, n] weights that read each unit.
        factors: whether units may be multiples of each other.
        context: for workers; the result does not depend on their number.
    """
    width = len(scaled)
    table = _Differences(scaled, fixed, factors, context)
    weights = np.array(readers, np.promote_types(readers.dtype, np.float32))
    power = _mean_squares(weights)
    partner, error = table.nearest(np.arange(width))
    alive = np.ones(width, bool)
    gone, into, factor, saliency = (np.zeros(width - 1, kind) for kind in (np.int64, np.int64, float, float))
    for step in range(width - 1):
        costs = np.where(alive, power * error, np.inf)
        j = int(costs.argmin())
        i = int(partner[j])
        ratio = table.ratio(j, i)
        gone[step], into[step], factor[step], saliency[step] = j, i, ratio, costs[j]
        weights[i] += ratio * weights[j]
        power[i] = _mean_squares(weights[i : i + 1])[0]
        alive[j] = False
        table.close(j)
        orphans = np.flatnonzero(alive & (partner == j))
        if step < width - 2 and len(orphans):
            partner[orphans], error[orphans] = table.nearest(orphans)
    return Sequence(width, gone, into, factor, saliency)


def _mean_squares(rows: Array) -> Array:
    return np.asarray(_norms(rows) / max(rows.shape[1], 1))


def _norms(rows: Array) -> Array:
    """Squares of each row, added up in float64."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


class _Differences:
    """‖ε‖² of every unit [gone] towards every other [into], and the best factors between them."""

    def __init__(self, scaled: Array, fixed: Array, factors: bool, context: Context) -> None:
        width = len(scaled)
        exact = scaled.size * width <= EXACT_UP_TO
        self._kind: Any = np.float64 if exact else np.float32
        self._scaled: Array = scaled.astype(self._kind, copy=False)
        self._fixed: Array = fixed.astype(self._kind, copy=False)
        self._squares = _norms(self._scaled)
        self._levels = self._squares + _norms(self._fixed)
        self._errors: Array = np.empty((width, width), self._kind)
        self._ratios: Array | None = np.empty((width, width), self._kind) if factors else None
        chunks = [slice(start, start + ROWS) for start in range(0, width, ROWS)]
        for _ in context.each("differences", self._fill, chunks, lambda rows: str(rows.start)):
            pass
        np.fill_diagonal(self._errors, np.inf)

    def _fill(self, rows: slice) -> None:
        """Some rows of the table."""
        squares = self._squares.astype(self._kind)
        products = self._scaled[rows] @ self._scaled.T
        if self._ratios is None:
            products *= -2
            products += squares
            products += squares[rows, None]
        else:
            ratios = self._ratios[rows]
            np.maximum(products, 0, out=ratios)
            np.divide(ratios, squares, out=ratios, where=squares > 0)
            ratios[:, squares <= 0] = 0
            np.multiply(np.square(ratios), -squares, out=products)
            products += squares[rows, None]
        if self._fixed.shape[1]:
            levels = (self._levels - self._squares).astype(self._kind)
            products += levels[rows, None] + levels - 2 * (self._fixed[rows] @ self._fixed.T)
        np.maximum(products, 0, out=products)
        np.minimum(products, squares[rows, None], out=self._errors[rows])

    def ratio(self, gone: int, into: int) -> float:
        """The factor between two units; 0 where it is better to drop the one than to merge it."""
        if self._errors[gone, into] >= self._kind(self._squares[gone]):
            return 0.0
        return 1.0 if self._ratios is None else float(self._ratios[gone, into])

    def close(self, unit: int) -> None:
        """Nothing is merged into this unit any more."""
        self._errors[:, unit] = np.inf

    def nearest(self, units: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Array]:
        """The best partner of each, and the difference; equal units differ by nothing."""
        partners = np.empty(len(units), np.int64)
        errors = np.empty(len(units))
        for place, unit in enumerate(units):
            partner = int(self._errors[unit].argmin())
            error = float(self._errors[unit, partner])
            if error <= DOUBTFUL * self._levels[unit]:
                error = self._exact(unit, partner)
                self._errors[unit, partner] = error
            partners[place], errors[place] = partner, error
        return partners, errors

    def _exact(self, gone: int, into: int) -> float:
        """A difference that the table cannot tell from rounding."""
        scaled = self._scaled[gone].astype(np.float64) - self.ratio(gone, into) * self._scaled[into].astype(np.float64)
        fixed = self._fixed[gone].astype(np.float64) - self._fixed[into]
        square = float(scaled @ scaled + fixed @ fixed)
        return 0.0 if square <= ROUNDING * self._levels[gone] else square


def mode(saliency: Array) -> float:
    """The most frequent saliency: the half-sample mode (Robertson & Cryer 1974), which needs no bins."""
    values = np.sort(saliency)
    while len(values) > 2:
        half = (len(values) + 1) // 2
        widths = values[half - 1 :] - values[: len(values) - half + 1]
        start = int(widths.argmin())
        values = values[start : start + half]
    return float(values.mean()) if len(values) else 0.0


def below(saliency: Array, limit: float) -> int:
    """How many merges come before the first whose saliency exceeds the limit."""
    over = saliency > limit
    return int(over.argmax()) if over.any() else len(saliency)
