"""Which weights a pass may touch, how far it may go with each, and checks of option values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

FAINTEST = 1e-3
LEAST_PEAK, MOST_PEAK = 1e-25, 1e36  # largest magnitudes whose squares, means and cells stay normal numbers
LOOSEST = 0.1  # relative error that no tensor may exceed


def in_range(name: str, value: float | None, low: float, high: float | None) -> None:
    """Raises ValueError, with a sentence for the user, where ``value`` is outside [low, high]."""
    if value is not None and not (low <= value and (high is None or value <= high)):
        wanted = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be {wanted}, not {value}")


def choices(name: str, value: str, known: Sequence[str]) -> None:
    """Raises ValueError, with a sentence for the user, where ``value`` is not one of ``known``."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value}")


def error_bounds(sizes: Sequence[int], error: float, tightest: float = 0.0) -> list[float]:
    """Relative error allowed for each tensor, so that the squares add up to about ``error`` squared.

    Tensors' errors add up at the output, while bits grow with the logarithm of 1 / error for each weight: the cheapest
    way to spend a total is in proportion to size, error_t**2 = error**2 * n_t / N (reverse water-filling). Bounds below
    ``tightest`` are raised to it.
    """
    total = max(1, sum(sizes))
    return [float(np.clip(error * np.sqrt(size / total), tightest, LOOSEST)) for size in sizes]


SMALL = 4096  # elements below which biases, normalisation parameters and tables are left alone


def packable(model: Model, minimum: int, context: Context, vectors: bool = False) -> list[Weight]:
    """The weights that a lossy pass may touch; what is left out for a reason the user should know is noted.

    ``vectors``: long biases and the like, too, for a pass that measures what their change does.
    """
    chosen = []
    for weight in model.weights(minimum):
        is_vector = max(weight.shape, default=1) == weight.size  # such as scales of integers, one for each row
        if weight.role == "other" and (weight.size < SMALL or (is_vector and not vectors)):
            continue
        if reason := unfit(largest(weight.values())):
            context.notes(f"'{weight.name}' {reason}: left as it is")
            continue
        chosen.append(weight)
    return chosen


def largest(values: Array) -> float:
    """The largest magnitude; infinity where a value is NaN or infinite."""
    if values.dtype == np.float32:
        found = native.stats(values.reshape(-1))
        return found.abs_max if found.finite else float("inf")
    peak = float(np.abs(values).max(initial=0))
    return peak if np.isfinite(peak) else float("inf")


def unfit(peak: float) -> str:
    """Why weights with this largest magnitude are not touched; "" where they may be."""
    if not np.isfinite(peak):
        return "holds NaN or infinite values"
    if peak and not LEAST_PEAK <= peak <= MOST_PEAK:
        return f"has values of up to {peak:.0e}, whose errors float32 cannot measure"
    return ""


def channel_mean_squares(values: Array, axis: int | None) -> Array:
    """Mean square of each channel, float64 [channels]; one channel where ``axis`` is None."""
    if axis is None:
        return np.array([np.mean(np.square(values, dtype=np.float64))])
    axes = list(range(values.ndim))
    sums: Array = np.einsum(values, axes, values, axes, [axis % values.ndim], dtype=np.float64)
    means: Array = sums / (values.size / values.shape[axis])
    return means


def channel_squares(values: Array, axis: int | None) -> Array:
    """Mean square of each channel, float64 [channels];
    channels fainter than ``FAINTEST`` times the loudest count as that loud."""
    squares = channel_mean_squares(values, axis)
    return np.maximum(squares, max(FAINTEST**2 * float(squares.max()), 1e-60))


def relative_error(original: Array, changed: Array, axis: int | None) -> float:
    """Root mean square over the channels of ‖changed − original‖ / ‖original‖."""
    difference = channel_mean_squares(
        np.subtract(changed, original, dtype=np.promote_types(original.dtype, np.float32)), axis
    )
    return float(np.sqrt(np.mean(difference / channel_squares(original, axis))))
