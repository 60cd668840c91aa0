"""Weights on grids: every level a multiple of the step, and outliers that cost the others nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxsqueeze.passes.quantizer import MOST_LEVELS, MOST_STEPS, Quantized, Quantizer

Array = np.ndarray[Any, Any]
FINE = 1 / 16


def weight(outliers: Array, size: int = 20_000) -> Array:
    """Normal values, and some others."""
    values = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    values[: len(outliers)] = outliers
    return values.reshape(100, -1)


def on_grid(values: Array) -> tuple[Quantizer, Quantized]:
    """At a step of 1/16 of the root mean square."""
    quantizer = Quantizer(values, None)
    found = quantizer.at(FINE, None)
    assert found is not None
    return quantizer, found


def steps_of(quantizer: Quantizer, found: Quantized) -> Array:
    """The levels in steps; checks what all grids have in common."""
    steps = found.sharing.codebook.astype(np.float64) / quantizer.step(FINE, None)
    assert steps == pytest.approx(np.rint(steps), abs=1e-3)
    assert (np.diff(np.rint(steps)) > 0).all()
    assert 0 in np.rint(steps)
    assert not np.signbit(found.sharing.codebook[steps == 0]).any()
    assert len(steps) <= MOST_LEVELS
    return np.rint(steps)


def test_levels_follow_one_another_where_they_can() -> None:
    quantizer, found = on_grid(weight(np.zeros(0)))
    assert (np.diff(steps_of(quantizer, found)) == 1).all()


def test_a_few_outliers_take_levels_of_their_own() -> None:
    """At the same step as without them, and as close as any other value."""
    outliers = np.linspace(-60, 60, 50).astype(np.float32)
    quantizer, found = on_grid(weight(outliers))
    steps = steps_of(quantizer, found)
    assert len(steps) < np.ptp(steps)
    off = np.abs(found.values - quantizer.values) / quantizer.step(FINE, None)
    assert off.max() < 1, "the price of bits moves borders by less than half of a step"


def test_many_outliers_share_levels() -> None:
    """So many that not all can have one of their own: none is far off, and the others are as close as before."""
    outliers = (np.random.default_rng(1).standard_normal(1500) * 40).astype(np.float32)
    quantizer, found = on_grid(weight(outliers))
    steps_of(quantizer, found)
    step = quantizer.step(FINE, None)
    off = np.abs(found.values - quantizer.values).reshape(-1) / step
    assert off[1500:].max() < 1
    assert off[:1500].mean() < 4
    contiguous = np.ptp(quantizer.values) / (MOST_LEVELS - 1)
    assert found.error < 0.5 * quantizer.values.size * contiguous**2 / 12


def test_a_range_that_is_far_too_wide_is_left_alone() -> None:
    values = weight(np.zeros(0), 1_000_000)
    values[0, 0] = 1e6
    assert Quantizer(values, None).at(MOST_STEPS**-1, None) is None
