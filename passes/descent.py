"""Indices of a grid that cost least: squared error of the outputs and coded bits, one against the other.

With H = E[x xᵀ] of the inputs, weights W become levels Q that minimise tr (Q - W) H (Q - W)ᵀ + λ · bits(Q), bits being
those that an entropy coder takes for each index (Chou, Lookabaugh and Gray 1989). Errors are first carried to the
inputs that follow (Frantar et al. 2023); then each weight in turn takes its best level given all others: coordinate
descent (Behdin et al. 2023), here with the rate in what it minimises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.runtime.descent import Grid, Problem

Array = npt.NDArray[Any]

MOST_BITS = 24
BLOCK = 64  # inputs between two updates of the others
SETTLING = 2  # estimates of how often each level is taken, before errors are carried


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights of several groups that are put on one grid together, a row of outputs for each input."""

    weights: Array  # float32 [groups, inputs, outputs]
    moments: Array  # float32 [groups, inputs, inputs]: H
    uppers: Array  # float32, of the same shape: U with UᵀU = H⁻¹
    scales: Array | None  # float32, shaped as the weights: what levels are multiplied with; None for 1

    def powers(self) -> tuple[Array, Array]:
        """Of each weight: its error squared times E[x²], and times what of it the inputs that follow cannot make up
        for, on a grid of step 1: float32 [groups, inputs, outputs or 1]."""
        alone = np.einsum("gii->gi", self.moments)[:, :, None]
        left = 1 / np.square(np.einsum("gii->gi", self.uppers))[:, :, None]
        if self.scales is None:
            return np.maximum(alone, 1e-30), left
        squares = np.square(self.scales)
        return np.maximum(alone * squares, 1e-30), left * squares


def rounded(layers: list[Layer], levels: Array, step: float, worth: float, sweeps: int) -> list[Array]:
    """Which level each weight takes: uint8, shaped as the weights.

    Args:
        layers: all that share the grid, and so the code of their indices.
        levels: float32 [levels], multiples of the step, rising, zero among them; some may be left out.
        step: between two levels that are next to each other.
        worth: of a bit, in squared steps times the mean power of all weights.
        sweeps: of coordinate descent.
    """
    powers, sizes = [layer.powers() for layer in layers], [layer.weights.size for layer in layers]
    means = [float(left.mean(dtype=np.float64)) for _, left in powers]
    bit = np.float32(worth * np.average(means, weights=sizes))
    grid, free = Grid.of(levels, step), np.zeros(len(levels), np.float32)

    def problems(which: int) -> list[Problem]:
        prices = [np.ascontiguousarray(bit / power[which], np.float32) for power in powers]
        pairs = zip(layers, prices, strict=True)
        return [Problem(grid, free, price, layer.scales) for layer, price in pairs]

    carrying, found = problems(1), [np.empty(layer.weights.shape, np.uint8) for layer in layers]
    for _ in range(SETTLING + 1):
        for layer, problem, indices in zip(layers, carrying, found, strict=True):
            problem.carry(layer.weights, None, None, indices, slice(0, layer.weights.shape[1]))
        bits = _bits(found, len(levels))
        carrying = [replace(problem, bits=bits) for problem in carrying]
    for layer, problem, indices in zip(layers, carrying, found, strict=True):
        _carry(layer, problem, indices)
    states = [_State.of(*each) for each in zip(layers, problems(0), found, strict=True)]
    for _ in range(sweeps):
        bits = _bits(found, len(levels))
        for state in states:
            state.sweep(bits)
    return found


def code_bits(counts: Array) -> Array:
    """Bits of each of the symbols that were seen so often, as an ideal coder takes them: float32."""
    total = max(int(counts.sum()), 1)
    bits: Array = np.minimum(-np.log2(np.maximum(counts, 0.25) / total), MOST_BITS).astype(np.float32)
    return bits


def _bits(found: list[Array], levels: int) -> Array:
    counts = [np.bincount(indices.reshape(-1), minlength=levels) for indices in found]
    return code_bits(np.sum(counts, axis=0))


def _carry(layer: Layer, problem: Problem, found: Array) -> None:
    """Levels input after input, the later ones making up for it."""
    weights, uppers = np.array(layer.weights), layer.uppers
    errors, count = np.empty_like(weights), weights.shape[1]
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        problem.carry(weights, uppers, errors, found, slice(start, end))
        if end < count:
            weights[:, end:] -= np.matmul(uppers[:, start:end, end:].transpose(0, 2, 1), errors[:, start:end])


@dataclass(frozen=True, eq=False)
class _State:
    """Weights on their way to better levels."""

    layer: Layer
    problem: Problem
    found: Array
    now: Array
    gradients: Array  # H (Q - W)
    moved: Array

    @staticmethod
    def of(layer: Layer, problem: Problem, found: Array) -> _State:
        now = problem.grid.levels[found]
        if layer.scales is not None:
            now *= layer.scales
        gradients = np.matmul(layer.moments, now - layer.weights)
        return _State(layer, problem, found, now, gradients, np.empty_like(now))

    def sweep(self, bits: Array) -> None:
        problem, moments, gradients = replace(self.problem, bits=bits), self.layer.moments, self.gradients
        count = moments.shape[1]
        for start in range(0, count, BLOCK):
            end = min(start + BLOCK, count)
            problem.descend(self.now, moments, gradients, self.moved, self.found, slice(start, end))
            for part in (slice(0, start), slice(end, count)):
                if part.start < part.stop:
                    gradients[:, part] += np.matmul(moments[:, part, start:end], self.moved[:, start:end])
