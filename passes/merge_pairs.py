"""Pairs of units that are alike, merged one after the other (Srinivas & Babu 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

Array = npt.NDArray[Any]

EXACT_UP_TO = 2e10  # multiplications of a matrix of differences that is computed in float64; larger ones in float32
ROUNDING = 1e-12  # relative difference, squared, under which two units are the same


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


def sequence(features: Array, readers: Array, scaled: bool) -> Sequence:
    """Merges the pair of least saliency, again and again.

    s_ij = ⟨a_j²⟩·‖ε_ij‖²: a_j are the weights that read unit j, ε_ij is the difference of the two units' weights, bias
    included. Merging j into i adds a_j to a_i; the differences stay as they are, and only ⟨a_i²⟩ is updated. With
    ``scaled`` ε_ij = w_j - r·w_i with the best r ≥ 0, and r·a_j is added: behind a positively homogeneous function.

    Args:
        features: [width, weights], of each unit.
        readers: [width, weights that read it].
    """
    width = len(features)
    errors, ratios = _differences(features, scaled)
    np.fill_diagonal(errors, np.inf)
    best = errors.argmin(axis=1)
    error = _exact(features, errors, ratios, best)
    weights = np.array(readers, np.float64)
    power = np.square(weights).mean(axis=1)
    alive = np.ones(width, bool)
    gone, into, factor, saliency = (np.zeros(width - 1, kind) for kind in (np.int64, np.int64, float, float))
    for step in range(width - 1):
        costs = np.where(alive, power * error, np.inf)
        j = int(costs.argmin())
        i = int(best[j])
        ratio = 1.0 if ratios is None else float(ratios[j, i])
        gone[step], into[step], factor[step], saliency[step] = j, i, ratio, costs[j]
        weights[i] += ratio * weights[j]
        power[i] = np.square(weights[i]).mean()
        alive[j] = False
        errors[:, j] = np.inf
        for other in np.flatnonzero(alive & (best == j)):
            best[other] = errors[other].argmin()
            error[other] = errors[other, best[other]]
    return Sequence(width, gone, into, factor, saliency)


def _differences(features: Array, scaled: bool) -> tuple[Array, Array | None]:
    """‖ε‖² [gone, into], and the best factors where units may be scaled."""
    kind = np.float64 if features.size * len(features) <= EXACT_UP_TO else np.float32
    values = features.astype(kind, copy=False)
    products = values @ values.T
    squares = np.diag(products).copy()
    if not scaled:
        errors = np.add.outer(squares, squares)
        products *= 2
        errors -= products
        return np.maximum(errors, 0, out=errors), None
    ratios = np.maximum(products, 0, out=products)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(squares > 0, ratios / squares, 0).astype(kind, copy=False)
    errors = squares[:, None] - np.square(ratios) * squares
    return np.maximum(errors, 0, out=errors), ratios


def _exact(features: Array, errors: Array, ratios: Array | None, best: npt.NDArray[np.int64]) -> Array:
    """The differences to the best partners, those that nothing is left of computed anew: none for equal units."""
    rows = np.arange(len(best))
    found = errors[rows, best].astype(np.float64)
    squares = np.einsum("ij,ij->i", features, features, dtype=np.float64)
    for j in np.flatnonzero(found <= 1e-4 * squares):
        ratio = 1.0 if ratios is None else float(ratios[j, best[j]])
        difference = features[j].astype(np.float64) - ratio * features[best[j]]
        square = float(difference @ difference)
        found[j] = 0.0 if square <= ROUNDING * squares[j] else square
        errors[j, best[j]] = found[j]
    return found


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
