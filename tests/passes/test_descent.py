"""Levels that cost least: against a slow reference, and never worse than where it started."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from onnxsqueeze.passes import descent
from onnxsqueeze.passes.descent import Layer, code_bits, rounded
from onnxsqueeze.passes.surgeon import factor
from onnxsqueeze.runtime.descent import Grid, Problem

Array = np.ndarray[Any, Any]
STEP = 0.4
LEVELS = (np.arange(-6, 7) * STEP).astype(np.float32)
ZERO = 6
GAPPED = (np.array([-9, -6, -3, -2, -1, 0, 1, 2, 5, 8]) * STEP).astype(np.float32)


def layer(groups: int, inputs: int, outputs: int, scaled: bool, seed: int = 0) -> Layer:
    """Weights, and second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((groups, 4 * inputs, inputs)) @ rng.standard_normal((groups, inputs, inputs))
    moments = (np.matmul(rows.transpose(0, 2, 1), rows) / rows.shape[1]).astype(np.float32)
    uppers = np.stack([factor(m).upper for m in moments])
    scales = np.exp2(rng.integers(-1, 2, (groups, 1, outputs))).astype(np.float32)
    shape = (groups, inputs, outputs)
    whole = np.ascontiguousarray(np.broadcast_to(scales, shape)) if scaled else None
    return Layer(rng.standard_normal(shape).astype(np.float32), moments, uppers, whole)


def cost(one: Layer, indices: Array, bits: Array, price: float) -> float:
    """tr ΔW H ΔWᵀ + price · bits."""
    change = LEVELS[indices].astype(np.float64) * (1 if one.scales is None else one.scales) - one.weights
    error = np.einsum("gio,gij,gjo->", change, one.moments.astype(np.float64), change)
    return float(error + price * bits[indices].sum(dtype=np.float64))


def cheapest(value: float, price: float, bits: Array, levels: Array) -> int:
    """Of the nearest level, the one below it in size and zero."""
    places = np.rint(levels / STEP)
    zero = int(np.flatnonzero(places == 0)[0])
    nearest = int(np.abs(places - np.clip(round(value / STEP), places[0], places[-1])).argmin())
    candidates = (nearest, nearest - int(np.sign(nearest - zero)), zero)
    return min(candidates, key=lambda i: float((value / STEP - places[i]) ** 2 + price * bits[i]))


@pytest.mark.parametrize("levels", [LEVELS, GAPPED], ids=["all", "gaps"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("groups", "inputs", "outputs"), [(1, 9, 70), (3, 5, 2)])
def test_the_library_does_as_the_reference(groups: int, inputs: int, outputs: int, scaled: bool, levels: Array) -> None:
    one = layer(groups, inputs, outputs, scaled)
    bits = code_bits(np.array([1, 2, 5, 9, 20, 50, 90, 50, 20, 9, 5, 2, 1])[: len(levels)])
    prices = np.random.default_rng(1).uniform(0, 0.3, (groups, inputs, outputs if scaled else 1)).astype(np.float32)
    problem = Problem(Grid.of(levels, STEP), bits, prices, one.scales)
    wide, scales = np.broadcast_to(prices, one.weights.shape), np.ones(one.weights.shape)
    scales = scales if one.scales is None else one.scales
    carried, errors, found = np.array(one.weights), np.empty_like(one.weights), np.empty(one.weights.shape, np.uint8)
    problem.carry(carried, one.uppers, errors, found, slice(0, inputs))
    now = one.weights.astype(np.float64)
    for g, j, o in np.ndindex(one.weights.shape):
        wanted = cheapest(now[g, j, o] / scales[g, j, o], wide[g, j, o], bits, levels)
        assert found[g, j, o] == wanted
        error = (now[g, j, o] - levels[wanted] * scales[g, j, o]) / one.uppers[g, j, j]
        now[g, j + 1 :, o] -= one.uppers[g, j, j + 1 :] * error

    fast = levels[found] * scales.astype(np.float32)
    gradients, moved = np.matmul(one.moments, fast - one.weights), np.empty_like(fast)
    slow, slopes = fast.astype(np.float64), gradients.astype(np.float64)
    problem.descend(fast, one.moments, gradients, moved, found, slice(0, inputs))
    for g, j, o in np.ndindex(one.weights.shape):
        target = slow[g, j, o] - slopes[g, j, o] / one.moments[g, j, j]
        wanted = cheapest(target / scales[g, j, o], wide[g, j, o], bits, levels)
        assert found[g, j, o] == wanted
        step = levels[wanted] * scales[g, j, o] - slow[g, j, o]
        assert moved[g, j, o] == pytest.approx(step, abs=1e-5)
        slow[g, j, o] += step
        slopes[g, :, o] += one.moments[g, :, j] * step
    assert fast == pytest.approx(slow, abs=1e-5)
    assert gradients == pytest.approx(slopes, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("scaled", [False, True])
def test_sweeps_lower_what_they_minimise(scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several blocks of inputs, too; with the bits of the last sweep, each of them lowers error plus bits."""
    monkeypatch.setattr(descent, "BLOCK", 16)
    one = layer(2, 40, 30, scaled, seed=2)
    worth = 0.1155
    left = one.powers()[1]
    price = worth * float(left.mean()) * STEP**2
    results = [rounded([one], LEVELS, STEP, worth, sweeps)[0] for sweeps in range(4)]
    for before, after in itertools.pairwise(results):
        bits = code_bits(np.bincount(before.reshape(-1), minlength=len(LEVELS)))
        assert cost(one, after, bits, price) <= cost(one, before, bits, price) * (1 + 1e-6)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    one = layer(1, 48, 20, False, seed=3)
    whole = rounded([one], LEVELS, STEP, 0.1, 2)[0]
    monkeypatch.setattr(descent, "BLOCK", 8)
    assert (rounded([one], LEVELS, STEP, 0.1, 2)[0] != whole).mean() < 0.01, "sums in another order"


def test_what_matters_less_costs_fewer_bits() -> None:
    """Weights of faint inputs become zero first."""
    one = layer(1, 32, 64, False, seed=4)
    faint = np.where(np.arange(32) < 16, 1, 0.05).astype(np.float32)
    moments = one.moments * faint[:, None] * faint
    dimmed = Layer(one.weights, moments, np.stack([factor(m, 1e-4).upper for m in moments]), None)
    zeros = (rounded([dimmed], LEVELS, STEP, 0.1155, 2)[0] == ZERO).mean(axis=(0, 2))
    assert zeros[16:].mean() > 2 * zeros[:16].mean()


def test_arrays_that_do_not_fit_are_refused() -> None:
    prices, found = np.ones((1, 4, 1), np.float32), np.empty((1, 4, 3), np.uint8)
    weights = np.ones((1, 4, 3), np.float32)
    problem = Problem(Grid.of(LEVELS, STEP), np.zeros(13, np.float32), prices, None)
    with pytest.raises(ValueError, match="do not fit"):
        problem.carry(weights, np.ones((1, 3, 3), np.float32), weights, found, slice(0, 4))
    with pytest.raises(TypeError, match="float32"):
        problem.carry(weights.astype(np.float64), None, None, found, slice(0, 4))


def test_a_grid_without_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="zero"):
        Grid.of(np.array([-2, -1, 1], np.float32), 1.0)
