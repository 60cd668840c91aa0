"""Rounding whose errors are made up for by the inputs not yet rounded (Hassibi and Stork 1993; Frantar et al. 2023).

With H = E[x xᵀ], rounding weight j of an output by d costs least when the later weights move by -d U[j, k] / U[j, j],
where UᵀU = H⁻¹ and U is upper triangular.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

LEAF = 16  # columns that are worked off one by one
REPAIR = 0.01  # of the mean of the diagonal, added where a matrix is not positive definite in float32


def factor(damped: Array) -> Array:
    """U, upper triangular with UᵀU = H⁻¹: float32 [inputs, inputs], contiguous.

    One Cholesky decomposition of H with its axes reversed, and one triangular inverse.
    """
    from scipy.linalg import cholesky
    from scipy.linalg.lapack import strtri

    reversed_ = damped[::-1, ::-1].astype(np.float32, order="F")
    diagonal = np.einsum("ii->i", reversed_)
    step = np.float32(REPAIR * (float(diagonal.mean()) or 1.0))
    while True:
        try:
            lower = cholesky(reversed_, lower=True, check_finite=False)
            break
        except np.linalg.LinAlgError:
            diagonal += step
            step *= 2
    inverse, _ = strtri(lower, lower=1)
    return np.ascontiguousarray(inverse[::-1, ::-1])


def carry(weights: Array, upper: Array, levels: Array, borders: Array, factors: Array | None) -> Array:
    """Puts weights on levels, input by input.

    Args:
        weights: float32 [outputs, inputs]; not changed.
        upper: U of ``factor``.
        levels: float32, sorted.
        borders: between the levels.
        factors: float32, shaped like the weights: what levels and borders are multiplied with; None for 1.

    Returns:
        uint8 [outputs, inputs]: which level each weight takes.
    """
    columns = np.array(weights.T, np.float32, order="C")
    scales = None if factors is None else np.ascontiguousarray(factors.T)
    errors = np.empty_like(columns)
    found = np.empty(columns.shape, np.uint8)

    def leaf(start: int, end: int) -> None:
        for j in range(start, end):
            normal = columns[j] if scales is None else columns[j] / scales[j]
            found[j] = native.assign(normal, borders)
            chosen = levels[found[j]] if scales is None else levels[found[j]] * scales[j]
            errors[j] = (columns[j] - chosen) / upper[j, j]
            columns[j + 1 : end] -= np.multiply.outer(upper[j, j + 1 : end], errors[j])

    def sweep(start: int, end: int) -> None:
        """The first half, what it does to the second one, the second half."""
        if end - start <= LEAF:
            leaf(start, end)
            return
        middle = start + max(LEAF, (end - start) // 2 // LEAF * LEAF)
        sweep(start, middle)
        columns[middle:end] -= upper[start:middle, middle:end].T @ errors[start:middle]
        sweep(middle, end)

    sweep(0, len(columns))
    return found.T
