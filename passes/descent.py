"""Indices of a uniform grid that cost least: squared error of the outputs and coded bits, one against the other.

With H = E[x xᵀ] of the inputs, weights W become levels Q that minimise tr (Q - W) H (Q - W)ᵀ + λ · bits(Q), bits being
those that an entropy coder takes for each index (Chou, Lookabaugh and Gray 1989). Errors are first carried to the
inputs that follow (Frantar et al. 2023); then each weight in turn takes its best level given all others: coordinate
descent (Behdin et al. 2023), here with the rate in what it minimises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.passes.surgeon import compensate, compensate_groups

Array = npt.NDArray[Any]

MOST_BITS = 24
BLOCK = 64  # inputs between two updates of the others' gradients
SETTLING = 2  # estimates of how often each level is taken, before errors are carried


@dataclass(frozen=True, eq=False)
class Rate:
    """A uniform grid of levels, zero among them, and the bits that each one costs."""

    levels: Array  # float32 [levels], rising
    step: float
    bits: Array  # float32 [levels]

    @property
    def zero(self) -> int:
        """The index of level 0."""
        return int(np.searchsorted(self.levels, 0))

    def nearest(self, values: Array) -> Array:
        """Indices of the nearest levels: int64."""
        places = np.rint(values * np.float32(1 / self.step)).astype(np.int64) + self.zero
        return np.clip(places, 0, len(self.levels) - 1, out=places)

    def choose(self, values: Array, price: Array | float) -> Array:
        """Indices that minimise (value - level)² / step² + price · bits, among the nearest level, the one below it in
        size and zero. ``price``: spreads over ``values``. uint8."""
        zero, found = self.zero, self.nearest(values)
        scaled = values * np.float32(1 / self.step)
        least = np.square(scaled - (found - zero)) + price * self.bits[found]
        below = found - np.sign(found - zero)
        for other in (below, np.int64(zero)):
            cost = np.square(scaled - (other - zero)) + price * self.bits[other]
            better = cost < least
            found = np.where(better, other, found)
            least = np.where(better, cost, least)
        return found.astype(np.uint8)

    def counted(self, indices: Array) -> Rate:
        """The same grid with the bits that these indices take on average."""
        return Rate(self.levels, self.step, code_bits(np.bincount(indices.reshape(-1), minlength=len(self.levels))))

    def settled(self, values: Array, price: Array | float) -> Rate:
        """The bits of the indices that values take at this price, which itself depends on the bits."""
        found = self.counted(self.nearest(values))
        for _ in range(SETTLING):
            found = found.counted(found.choose(values, price))
        return found


def code_bits(counts: Array) -> Array:
    """Bits of each of the symbols that were seen so often, as an ideal coder takes them: float32."""
    total = max(int(counts.sum()), 1)
    bits: Array = np.minimum(-np.log2(np.maximum(counts, 0.25) / total), MOST_BITS).astype(np.float32)
    return bits


def carried(weights: Array, uppers: Array, rate: Rate, prices: Array, factors: Array | None) -> Array:
    """Which level each weight takes, errors carried to the inputs that follow: uint8 [groups, outputs, inputs].

    Args:
        weights: float32 [groups, outputs, inputs].
        uppers: [groups, inputs, inputs]: U with UᵀU = H⁻¹.
        rate: of all groups.
        prices: float32 [groups, outputs or 1, inputs], of a bit in squared steps.
        factors: shaped like the weights: what levels are multiplied with; None for 1.
    """
    found = np.empty((weights.shape[2], *weights.shape[:2]), np.uint8)
    scales, price = _columns(factors), _columns(prices)

    def change(j: int, now: Array) -> Array:
        now = now.reshape(found.shape[1:])
        found[j] = rate.choose(now if scales is None else now / scales[j], price[j])
        chosen: Array = rate.levels[found[j]]
        return chosen if scales is None else chosen * scales[j]

    if len(weights) == 1:
        compensate(weights[0], uppers[0], lambda start, columns: lambda j, now: change(j, now)[0])
    else:
        compensate_groups(weights, uppers, change)
    return found.transpose(1, 2, 0)


def descend(
    indices: Array, weights: Array, moments: Array, rate: Rate, prices: Array, factors: Array | None, sweeps: int
) -> Array:
    """The same indices after each weight in turn has taken its best level given all others; arguments as ``carried``.

    ``moments``: H [groups, inputs, inputs].
    """
    found, scales, price = _columns(indices), _columns(factors), _columns(prices)
    now = rate.levels[found] * (1 if scales is None else scales)
    change = np.ascontiguousarray(now - weights.transpose(2, 0, 1))
    gradients = np.stack([moments[g] @ change[:, g] for g in range(len(moments))], axis=1)
    sweep = _Sweep(found, now, gradients, moments, scales)
    for _ in range(sweeps):
        rate = rate.counted(found)
        sweep.run(lambda values, j, rate=rate: rate.choose(values, price[j]), rate.levels)  # type: ignore[misc]
    return found.transpose(1, 2, 0)


@dataclass(frozen=True, eq=False)
class _Sweep:
    found: Array  # uint8 [inputs, groups, outputs]
    now: Array  # float32, the same: the levels, times their factors
    gradients: Array  # float32, the same: H (Q - W)
    moments: Array
    scales: Array | None

    def run(self, choose: Callable[[Array, int], Array], levels: Array) -> None:
        diagonals = np.maximum(np.einsum("gii->ig", self.moments), np.float32(1e-30))[:, :, None]
        for start in range(0, len(self.found), BLOCK):
            end = min(start + BLOCK, len(self.found))
            own = self.moments[:, start:end, start:end].transpose(1, 2, 0)[..., None]  # [inputs, inputs, groups, 1]
            gradients, before = self.gradients[start:end], self.now[start:end].copy()
            for j in range(start, end):
                wanted = self.now[j] - gradients[j - start] / diagonals[j]
                self.found[j] = choose(wanted if self.scales is None else wanted / self.scales[j], j)
                chosen = levels[self.found[j]]
                if self.scales is not None:
                    chosen = chosen * self.scales[j]
                moved = chosen - self.now[j]
                if moved.any():
                    gradients += own[:, j - start] * moved
                    self.now[j] = chosen
            moved = self.now[start:end] - before
            for part in (slice(0, start), slice(end, None)):
                for g in range(len(self.moments)):
                    self.gradients[part, g] += self.moments[g, part, start:end] @ moved[:, g]


def _columns(values: Any) -> Any:
    """[groups, outputs, inputs] as [inputs, groups, outputs]; None for None."""
    return None if values is None else np.ascontiguousarray(values.transpose(2, 0, 1))
