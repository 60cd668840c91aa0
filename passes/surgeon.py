"""Weights changed one input at a time, the others making up for it (Hassibi and Stork 1993; Frantar et al. 2022, 2023).

With H = E[x xᵀ] of the inputs, changing weight j of an output by d costs least when the later weights move by
-d U[j, k] / U[j, j], where UᵀU = H⁻¹ and U is upper triangular; it then costs d² / U[j, j]².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Change = Callable[[int, Array], Array]  # place of a column, its values now [outputs] -> what it becomes
Plan = Callable[[int, Array], Change]  # place of the first of some columns, their values now [columns, outputs]

DAMPING = 0.01  # of the mean of the diagonal, added to it
LEAF = 16  # columns that are worked off one by one
BLOCK = 128  # columns that are planned together
MANY = 8  # groups, from which on they are worked off together


@dataclass(frozen=True, eq=False)
class Factors:
    """Of the damped second moments H: float32 upper triangular matrices with H = root rootᵀ and root⁻¹ = upper."""

    root: Array  # [inputs, inputs]
    upper: Array  # [inputs, inputs]
    damping: float  # that was added to the diagonal


def factor(matrix: Array, damping: float = DAMPING) -> Factors:
    """One Cholesky decomposition of H with its axes reversed, and one triangular inverse.

    ``matrix``: float32 [inputs, inputs]. Inputs that are always zero count as independent of the others. Where the
    matrix is not positive definite in float32, it is damped more, also without ``damping``.
    """
    from scipy.linalg import cholesky
    from scipy.linalg.lapack import strtri

    damped = matrix[::-1, ::-1].astype(np.float32, order="F")
    diagonal = np.einsum("ii->i", damped)
    mean = float(np.abs(diagonal).mean()) or 1.0  # rounding leaves some below zero where inputs hardly differ
    added = np.float32(damping * mean)
    diagonal += added
    step = np.float32((damping or DAMPING) * mean)
    while True:
        try:
            lower = cholesky(damped, lower=True, check_finite=False)
            break
        except np.linalg.LinAlgError:
            diagonal += step
            added += step
            step *= 2
    inverse, _ = strtri(lower, lower=1)
    return Factors(lower[::-1, ::-1], np.ascontiguousarray(inverse[::-1, ::-1]), float(added))


def shrinkage(matrix: Array, rows: int) -> float:
    """Share of equal and independent inputs that second moments of so many rows are drawn to; the fewer, the more.

    Oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010), and at least ``DAMPING``; at most 1.
    """
    width = len(matrix)
    mean = float(np.einsum("ii->", matrix, dtype=np.float64)) / width
    squares = float(np.einsum("ij,ij->", matrix, matrix, dtype=np.float64))
    between = (rows + 1 - 2 / width) * (squares - width * mean**2)
    share = ((1 - 2 / width) * squares + (width * mean) ** 2) / between if between > 0 else 1.0
    return float(np.clip(share, DAMPING, 1.0))


def damping(matrix: Array, rows: int) -> float:
    """The same as what ``factor`` adds to the diagonal; at most once its mean."""
    share = min(shrinkage(matrix, rows), 0.5)
    return share / (1 - share)


def compensate(weights: Array, upper: Array, plan: Plan, unit: int = LEAF, block: int = BLOCK) -> Array:
    """Changes column by column, the later ones making up for it.

    Args:
        weights: [outputs, inputs]; not changed.
        upper: of the ``factor`` of what flows in.
        plan: given at most ``block`` neighbouring columns as they are when their turn comes, how each is to change.
        unit: columns that are worked off one by one; blocks are made of whole units, but for the last.
        block: at least ``unit``.

    Returns:
        What the columns became: float32 [outputs, inputs].
    """
    columns = np.array(weights.T, np.float32, order="C")
    errors = np.zeros_like(columns)
    _Sweep(columns, errors, upper, plan, unit, block).run(0, len(columns), None)
    return columns.T


def compensate_groups(weights: Array, uppers: Array, change: Change) -> None:
    """The same for many small groups at once, all of them column by column; for what ``change`` does only.

    Args:
        weights: [groups, outputs, inputs]; not changed.
        uppers: [groups, inputs, inputs].
        change: is given the values of a column now [groups, outputs].
    """
    columns = np.array(weights.transpose(2, 0, 1), np.float32, order="C")
    for j, values in enumerate(columns):
        error = (values - change(j, values)) / uppers[:, j, j, None]
        columns[j + 1 :] -= uppers[:, j, j + 1 :].T[:, :, None] * error


@dataclass(frozen=True, eq=False)
class _Sweep:
    columns: Array  # [inputs, outputs]
    errors: Array  # [inputs, outputs]
    upper: Array
    plan: Plan
    unit: int
    block: int

    def run(self, start: int, end: int, change: Change | None) -> None:
        """The first half, what it does to the second one, the second half."""
        if change is None and end - start <= self.block:
            change = self.plan(start, self.columns[start:end])
        if end - start <= self.unit:
            assert change is not None
            self._leaf(start, end, change)
            return
        middle = start + max(self.unit, (end - start) // 2 // self.unit * self.unit)
        self.run(start, middle, change)
        self.columns[middle:end] -= self.upper[start:middle, middle:end].T @ self.errors[start:middle]
        self.run(middle, end, change)

    def _leaf(self, start: int, end: int, change: Change) -> None:
        for j in range(start, end):
            now = change(j, self.columns[j])
            error = self.errors[j]
            np.subtract(self.columns[j], now, out=error)
            error /= self.upper[j, j]
            self.columns[j] = now
            if j + 1 < end:
                self.columns[j + 1 : end] -= np.multiply.outer(self.upper[j, j + 1 : end], error)


def output_error(change: Array, factors: Factors) -> Array:
    """E[(d x)²] of each output for a change d of its weights [outputs, inputs]: float64 [outputs]."""
    from scipy.linalg.blas import strmm

    moved = strmm(1.0, factors.root, change, side=1)  # d H dᵀ = ‖d root‖²
    found: Array = np.einsum("oi,oi->o", moved, moved, dtype=np.float64)
    found -= factors.damping * np.einsum("oi,oi->o", change, change, dtype=np.float64)
    return found
