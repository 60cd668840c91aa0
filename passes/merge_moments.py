"""Units as combinations of others, without data: second moments of activations under a Gaussian assumption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

TERMS, POINTS = 24, 128  # of the Hermite series, and of the quadrature that finds its coefficients
RIDGE = 1e-3  # of the mean second moment: how far the assumed moments are trusted
AT_ONCE = 256  # a layer goes in so many rounds at least


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean [width] and covariance [width, width] of values that go together."""

    mean: Array
    covariance: Array

    @property
    def second(self) -> Array:
        """Second moments about zero."""
        return np.asarray(self.covariance + np.outer(self.mean, self.mean))


def behind(before: Moments, function: Function) -> Moments:
    """Moments behind an elementwise function, if those before it are Gaussian.

    f(m + s·z) = Σ c_k·He_k(z)/√k! gives cov(f(x), f(y)) = Σ c_k(x)·c_k(y)·ρ^k over k ≥ 1 (Mehler's formula); for Relu
    this is the arc-cosine kernel (Cho & Saul 2009).
    """
    deviation = np.sqrt(np.maximum(np.diag(before.covariance), 1e-24))
    correlation = np.clip(before.covariance / np.outer(deviation, deviation), -1, 1)
    points, weights = np.polynomial.hermite_e.hermegauss(POINTS)
    weights = weights / weights.sum()
    values = function(before.mean[:, None] + deviation[:, None] * points)
    coefficients = values @ (_hermite(points) * weights).T
    power, covariance = np.ones_like(correlation), np.zeros_like(correlation)
    for term in range(1, TERMS):
        power *= correlation
        covariance += np.outer(coefficients[:, term], coefficients[:, term]) * power
    mean = coefficients[:, 0]
    np.fill_diagonal(covariance, np.maximum(np.square(values) @ weights - np.square(mean), 0))
    return Moments(mean, covariance)


def _hermite(points: Array) -> Array:
    """Normalised Hermite polynomials at the points: [terms, points]."""
    table = np.ones((TERMS, len(points)))
    table[1] = points
    for term in range(2, TERMS):
        table[term] = (points * table[term - 1] - np.sqrt(term - 1) * table[term - 2]) / np.sqrt(term)
    return table


@dataclass(frozen=True, eq=False)
class Elimination:
    """The order in which units go, each predicted from those that are left."""

    gone: npt.NDArray[np.int64]
    cost: Array  # what each loss adds to the expected square of the outputs
    total: float  # the expected square of the outputs
    second: Array

    def transfer(self, count: int) -> tuple[npt.NDArray[np.int64], Array]:
        """What stays after so many, and the matrix [kept, width] that makes the new reading weights."""
        kept = np.setdiff1d(np.arange(len(self.second)), self.gone[:count])
        gone = np.sort(self.gone[:count])
        matrix = np.zeros((len(kept), len(self.second)))
        matrix[np.arange(len(kept)), kept] = 1
        inner = _regular(self.second[np.ix_(kept, kept)], _ridge(self.second))
        matrix[:, gone] = scipy.linalg.solve(inner, self.second[np.ix_(kept, gone)], assume_a="pos")
        return kept, matrix


def eliminate(second: Array, readers: Array) -> Elimination:
    """Removes the unit that the others replace best, again and again.

    Unit j goes at the cost of ‖a_j‖² / (K⁻¹)_jj, K the second moments and a_j the weights that read it, both updated
    (the surgeon's formula of Hassibi & Stork 1992 for whole units). Large layers lose several at a time.

    Args:
        second: [width, width] second moments of the activations.
        readers: [width, weights].
    """
    width = len(second)
    inverse = scipy.linalg.inv(_regular(second, _ridge(second)))
    products = (readers @ readers.T).astype(np.float64)
    total = float(np.einsum("ij,ij->", products, second))
    alive = np.ones(width, bool)
    order: list[int] = []
    costs: list[float] = []
    step = max(1, width // AT_ONCE)
    while len(order) < width - 1:
        cost = np.where(alive, np.diag(products) / np.where(alive, np.diag(inverse), 1), np.inf)
        picked = np.argsort(cost, kind="stable")[: min(step, width - 1 - len(order))]
        order += picked.tolist()
        costs += cost[picked].tolist()
        share = inverse[:, picked] @ scipy.linalg.inv(inverse[np.ix_(picked, picked)])
        moved = share @ products[picked]
        products += share @ products[np.ix_(picked, picked)] @ share.T - moved - moved.T
        inverse -= share @ inverse[picked]
        for matrix in (products, inverse):
            matrix[picked] = 0
            matrix[:, picked] = 0
        alive[picked] = False
    return Elimination(np.array(order, np.int64), np.maximum(costs, 0), total, second)


def _ridge(second: Array) -> float:
    return RIDGE * max(float(np.trace(second)) / len(second), 1e-30)


def _regular(second: Array, ridge: float) -> Array:
    regular = second.copy()
    regular[np.diag_indices(len(second))] += ridge
    return regular
