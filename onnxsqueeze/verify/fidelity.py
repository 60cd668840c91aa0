"""How close the outputs of two models are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Fidelity:
    """One output over all inputs; errors are NaN, and top1 None, where it holds no finite value to compare."""

    output: str
    relative_error: float  # ‖b − a‖ / ‖a‖
    cosine: float
    top1: float | None  # share of equal argmax over the last axis, where the output looks like scores over classes
    exact: bool  # equal bit for bit, with at least one finite value
    finite: bool  # no NaN or infinity where the original has none


def compare(name: str, expected: Sequence[Array], actual: Sequence[Array]) -> Fidelity:
    """Compares one output over several runs; shapes must agree (a difference counts as infinitely far)."""
    if any(a.shape != b.shape for a, b in zip(expected, actual, strict=True)):
        return Fidelity(name, float("inf"), 0.0, None, False, False)
    a = np.concatenate([x.reshape(-1).astype(np.float64) for x in expected])
    b = np.concatenate([x.reshape(-1).astype(np.float64) for x in actual])
    exact = all(x.tobytes() == y.tobytes() for x, y in zip(expected, actual, strict=True))
    usable = np.isfinite(a)
    finite = bool(np.isfinite(b[usable]).all())
    if not usable.any():
        return Fidelity(name, float("nan"), float("nan"), None, False, finite)
    a, b = a[usable], np.where(np.isfinite(b[usable]), b[usable], 0)
    scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0)) or 1.0  # so that squares do not overflow
    a, b = a / scale, b / scale
    length_a, length_b, difference = np.linalg.norm(a), np.linalg.norm(b), np.linalg.norm(b - a)
    error = float(difference / length_a) if length_a else float(difference > 0)
    both = float(length_a * length_b)
    cosine = float(np.dot(a, b) / both) if both else float(length_a == length_b)
    return Fidelity(name, error, cosine, _top1(expected, actual), exact, finite)


def _top1(expected: Sequence[Array], actual: Sequence[Array]) -> float | None:
    first = expected[0]
    is_scores = np.issubdtype(first.dtype, np.floating) and first.ndim in (2, 3) and 2 <= first.shape[-1] <= 200_000
    if not is_scores or any(x.shape[-1] != first.shape[-1] for x in expected):
        return None
    same = [(x.argmax(-1) == y.argmax(-1)).reshape(-1) for x, y in zip(expected, actual, strict=True)]
    joined = np.concatenate(same)
    return float(joined.mean()) if joined.size else None
