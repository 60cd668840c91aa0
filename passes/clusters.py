"""One-dimensional clustering: exact Lloyd iterations on sorted values, and entropy-friendly grids on histograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

BLOCK = 64  # sorted values per stored prefix sum
BINS = 1 << 16
MAX_ITERATIONS = 20_000
PATIENCE = 3  # moves without gain before k-means ends
BORDERS, MOST_OPTIMAL = 512, 64  # candidate borders of cells, and most clusters, for a start that is optimal on them
MAX_CELLS = 255
POLISH_ITERATIONS = 16


class SortedValues:
    """Sorted float32 values whose range sums cost two short sums each (prefix sums of whole blocks are kept).

    With ``weights``, all above zero, each value counts that much, as in sensitivity-weighted k-means (Kim et al. 2024).
    """

    def __init__(self, values: Array, weights: Array | None = None) -> None:
        flat = values.reshape(-1).astype(np.float32, copy=False)
        order = slice(None) if weights is None else np.argsort(flat, kind="stable")
        self.values = np.sort(flat) if weights is None else flat[order]
        self._weights = None if weights is None else weights.reshape(-1)[order].astype(np.float64)
        self._block_sums = _block_sums(self.values if self._weights is None else self.values * self._weights)
        self._block_weights = None if self._weights is None else _block_sums(self._weights)

    def prefix_sums(self, ends: Array) -> Array:
        """For each end the sum of all values before it, times their weights, in float64."""
        return self._prefix(ends, self._block_sums, True)

    def prefix_counts(self, ends: Array) -> Array:
        """For each end the weights of all values before it; without weights their number."""
        return ends if self._block_weights is None else self._prefix(ends, self._block_weights, False)

    def _prefix(self, ends: Array, block_sums: Array, valued: bool) -> Array:
        blocks = ends // BLOCK
        inside = blocks[:, None] * BLOCK + np.arange(BLOCK)
        places = np.minimum(inside, len(self.values) - 1)
        rest: Array = self.values[places] if valued else np.ones((), np.float64)
        rest = rest if self._weights is None else rest * self._weights[places]
        sums: Array = block_sums[blocks] + np.sum(rest, axis=1, where=inside < ends[:, None], dtype=np.float64)
        return sums

    def square_sum(self) -> float:
        """Sum of all squares, times their weights."""
        if self._weights is None:
            return _square_sum(self.values)
        return float(np.dot(self.values.astype(np.float64) ** 2, self._weights))

    def cell_ends(self, centers: Array) -> Array:
        """Index of the first value past each center's cell (cells meet in the middle)."""
        middles = ((centers[1:] + centers[:-1]) / 2).astype(np.float32)
        return np.append(np.searchsorted(self.values, middles, side="left"), len(self.values))

    def sums(self, ends: Array) -> Array:
        """Sum over each cell."""
        return np.diff(self.prefix_sums(ends), prepend=0.0)

    def counts(self, ends: Array) -> Array:
        """Number of values in each cell, or what they weigh together."""
        return np.diff(self.prefix_counts(ends), prepend=0)


def _block_sums(terms: Array) -> Array:
    """Sums of whole blocks up to each of them."""
    whole = len(terms) // BLOCK * BLOCK
    sums = np.empty(whole // BLOCK + 1, np.float64)
    sums[0] = 0.0
    np.cumsum(np.add.reduce(terms[:whole].reshape(-1, BLOCK), axis=1, dtype=np.float64), out=sums[1:])
    return sums


def initial_centers(data: SortedValues, clusters: int, how: str, seed: int) -> Array:
    """Centers to start from: evenly over the range (linear), over the ranks (density), or drawn (random).

    Han, Mao and Dally 2016 compare the three and find linear the best, since it keeps the few large weights.
    """
    values = data.values
    if how == "linear":
        return np.linspace(float(values[0]), float(values[-1]), clusters)
    if how == "density":
        ranks = (np.arange(clusters) + 0.5) / clusters * len(values)
        return np.unique(values[ranks.astype(np.int64)].astype(np.float64))
    picked = np.random.default_rng(seed).choice(len(values), min(clusters, len(values)), replace=False)
    return np.unique(values[picked].astype(np.float64))


def kmeans(data: SortedValues, centers: Array) -> Array:
    """Lloyd's algorithm to its fixed point, then as long as it helps: merge two clusters, split another, repeat.

    Where the optimal partition on a coarse grid is a better start than ``centers``, it is taken instead; the moves
    leave other local optima. Returns sorted float32 centers.
    """
    wanted = len(centers)
    best = _lloyd(data, centers, wanted)
    if 1 < wanted <= MOST_OPTIMAL:
        best = max(best, _lloyd(data, _optimal_start(data, wanted), wanted), key=lambda f: f.explained)
    failures = 0
    for _ in range(4 * wanted):
        moved = _lloyd(data, _without_cheapest(data, best.centers, failures), wanted)
        if moved.explained > best.explained * (1 + 1e-9):
            best, failures = moved, 0
        elif failures < PATIENCE:
            failures += 1
        else:
            break
    return np.unique(best.centers.astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Centers at a fixed point, and the sum of squares that they explain (the higher, the lower the error)."""

    centers: Array
    explained: float


def _lloyd(data: SortedValues, centers: Array, wanted: int) -> _Fixed:
    """Lloyd's iterations; clusters that are missing or run empty are given halves of wide, full cells."""
    previous: Array | None = None
    for iteration in range(MAX_ITERATIONS):
        ends = data.cell_ends(centers)
        if previous is not None and np.array_equal(ends, previous):
            break
        previous = ends
        used = np.diff(ends, prepend=0) > 0
        ends = ends[used]
        sums, counts = data.sums(ends), data.counts(ends)
        explained = float((sums**2 / counts).sum())
        centers = sums / counts
        if len(centers) < wanted and iteration < MAX_ITERATIONS // 2:
            centers = _split_largest(data, ends, centers, wanted - len(centers))
    return _Fixed(centers, explained)


def _optimal_start(data: SortedValues, wanted: int) -> Array:
    """Means of the cells that explain most, among cells with borders at ranks and at steps of the range.

    Dynamic programming over the cell's number and end (Bellman 1973; Wang and Song 2011).
    """
    values, half = data.values, BORDERS // 2
    ranks = np.linspace(0, len(values), half + 1).astype(np.int64)
    steps = np.searchsorted(values, np.linspace(float(values[0]), float(values[-1]), half + 1).astype(np.float32)[1:-1])
    borders = np.unique(np.concatenate([ranks, steps]))
    sums, before = data.prefix_sums(borders), data.prefix_counts(borders)
    counts = before[None, :] - before[:, None]
    some = borders[None, :] > borders[:, None]
    explained = np.where(some, (sums[None, :] - sums[:, None]) ** 2 / np.where(some, counts, 1), -np.inf)
    best, begins, columns = explained[0], [], np.arange(len(borders))
    for _ in range(min(wanted, len(borders) - 1) - 1):
        totals = best[:, None] + explained
        begins.append(totals.argmax(axis=0))
        best = totals[begins[-1], columns]
    path = [len(borders) - 1]
    for begin in reversed(begins):
        path.append(int(begin[path[-1]]))
    ends = borders[path[::-1]]
    centers: Array = data.sums(ends) / data.counts(ends)
    return centers


def _without_cheapest(data: SortedValues, centers: Array, rank: int) -> Array:
    """The centers after merging the two neighbours whose merger adds least squared error (rank 0), next to least …"""
    if len(centers) < rank + 3:
        return centers
    counts = data.counts(data.cell_ends(centers))
    counts = np.maximum(counts, counts.sum() / len(data.values))
    cost = counts[1:] * (counts[:-1] / (counts[1:] + counts[:-1])) * np.diff(centers) ** 2
    pair = int(np.argsort(cost, kind="stable")[rank])
    mean = np.average(centers[pair : pair + 2], weights=counts[pair : pair + 2])
    return np.concatenate([centers[:pair], [mean], centers[pair + 2 :]])


def _split_largest(data: SortedValues, ends: Array, centers: Array, missing: int) -> Array:
    """Replaces the centers of up to ``missing`` wide and full cells, none of them empty, by two each."""
    starts = np.concatenate([[0], ends[:-1]])
    low, high = data.values[starts].astype(np.float64), data.values[ends - 1].astype(np.float64)
    weight = data.counts(ends) * (high - low) ** 2
    chosen = np.argsort(-weight, kind="stable")[:missing]
    chosen = chosen[weight[chosen] > 0]
    quarter = (high[chosen] - low[chosen]) / 4
    kept = np.delete(centers, chosen)
    return np.sort(np.concatenate([kept, low[chosen] + quarter, high[chosen] - quarter]))


def square_error(data: SortedValues, codebook: Array) -> float:
    """Sum of squared distances to the nearest codebook entry (float32, sorted), times the values' weights."""
    centers = codebook.astype(np.float64)
    ends = data.cell_ends(centers)
    counts, sums = data.counts(ends), data.sums(ends)
    return max(0.0, data.square_sum() - float((2 * centers * sums - counts * centers**2).sum()))


def entropy_bits(counts: Array) -> float:
    """Shannon's bound for coding symbols with these positive counts, in bits."""
    return float((counts * np.log2(counts.sum() / counts)).sum())


@dataclass(frozen=True, eq=False)
class Cells:
    """Neighbouring groups of values: counts and sums, in increasing order, none empty."""

    counts: Array
    sums: Array

    @property
    def centers(self) -> Array:
        """Mean of each cell, float64."""
        return self.sums / self.counts


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values in ``BINS`` equal bins over [low, high], with the sum of each bin."""

    low: float
    high: float
    counts: Array
    sums: Array
    square_sum: float

    def cells(self, step: float, zero: bool) -> Cells:
        """The values on a grid of ``step`` with a cell centered on 0; at most 255 cells, the cheapest ones merged.

        With ``zero`` the central cell's sum is set to 0, so that its center is exactly zero.
        """
        width = (self.high - self.low) / BINS
        middles = self.low + (np.arange(BINS) + 0.5) * width
        cell = np.rint(middles / step).astype(np.int64)
        starts = np.flatnonzero(np.diff(cell, prepend=cell[0] - 1))
        cells = self._cells_from(starts)
        if len(cells.counts) > MAX_CELLS:
            cells = self._polished(merge_cheapest(cells, MAX_CELLS))
        if zero:
            cells.sums[np.abs(cells.centers) < step / 2] = 0.0
        return cells

    def _cells_from(self, starts: Array) -> Cells:
        counts, sums = np.add.reduceat(self.counts, starts), np.add.reduceat(self.sums, starts)
        return Cells(counts[counts > 0], sums[counts > 0])

    def _polished(self, cells: Cells) -> Cells:
        """Some of Lloyd's iterations on the bins, after merging has left the uniform grid."""
        scale = BINS / (self.high - self.low)
        for _ in range(POLISH_ITERATIONS):
            middles = (cells.centers[1:] + cells.centers[:-1]) / 2
            edges = np.rint((middles - self.low) * scale).astype(np.int64)
            cells = self._cells_from(np.unique(np.concatenate([[0], np.clip(edges, 0, BINS - 1)])))
        return cells

    def square_error(self, cells: Cells) -> float:
        """Sum of squared distances to the cells' centers; a center moved to 0 counts in full."""
        return max(0.0, self.square_sum - float((cells.sums**2 / cells.counts).sum()))


def histogram(values: Array) -> Histogram:
    """The histogram of values (float32, flat, finite, none of them zero)."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    margin = (high - low) * 1e-6
    low, high = low - margin, high + margin
    counts, sums = native.histogram(values, low, high, BINS)
    return Histogram(low, high, counts.astype(np.int64), sums, _square_sum(values))


def _square_sum(values: Array) -> float:
    chunks = (values[i : i + (1 << 16)] for i in range(0, len(values), 1 << 16))
    return float(sum(float(np.dot(c.astype(np.float64), c)) for c in chunks))


def merge_cheapest(cells: Cells, limit: int) -> Cells:
    """Merges neighbours that add least squared error (Ward), many disjoint pairs a round, until ``limit`` remain."""
    counts, sums = cells.counts, cells.sums
    while (excess := len(counts) - limit) > 0:
        centers = sums / counts
        cost = counts[1:] * (counts[:-1] / (counts[1:] + counts[:-1])) * np.diff(centers) ** 2
        bounded = np.concatenate([[np.inf], cost, [np.inf]])
        lowest = np.flatnonzero((cost < bounded[:-2]) & (cost <= bounded[2:]))  # no two of them touch
        pairs = lowest[np.argsort(cost[lowest], kind="stable")[:excess]]
        starts = np.delete(np.arange(len(counts)), pairs + 1)
        counts, sums = np.add.reduceat(counts, starts), np.add.reduceat(sums, starts)
    return Cells(counts, sums)


def coarsest_grid(data: Histogram, square_error: float, zero: bool) -> Cells | None:
    """The cells of the coarsest grid whose squared error stays within ``square_error``; None where none does.

    A uniform grid with the cells' means as values is, at these rates, within 0.01 bit of the best
    entropy-constrained scalar quantizer (Gish & Pierce 1968; Sullivan 1996).
    """
    total = int(data.counts.sum())
    low = float(np.sqrt(12 * square_error / max(1, total)))
    best = None
    while best is None or data.square_error(best) > square_error:  # over the limit, where cells were merged
        if best is not None:
            low /= 2
        if best is not None and low * MAX_CELLS * 16 < data.high - data.low:
            return None
        best = data.cells(low, zero)
    high = low * 8
    while high / low > 1.002:
        middle = float(np.sqrt(low * high))
        cells = data.cells(middle, zero)
        if data.square_error(cells) <= square_error:
            best, low = cells, middle
        else:
            high = middle
    return best
