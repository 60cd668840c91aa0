"""Canonical Huffman codes of bounded length, and how to split integers into coded high and raw low bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

MAX_DEPTH = 12
Counts = npt.NDArray[np.int64]

# Raw low bits and shallow trees make loading cheap; they may cost this share of the coded size each.
LOW_BITS = (2, 3, 4, 5)
LOW_BITS_LOSS = 0.005
DEPTH_LOSS = 0.002


@dataclass(frozen=True, eq=False)
class Code:
    """A Huffman code for the high parts of integers: ``integer = high * 2**low + low part``."""

    low: int
    offset: int  # added to an integer before it is split
    lengths: npt.NDArray[np.int64]  # per leaf, non-decreasing
    leaf_of_high: npt.NDArray[np.int64]  # high part -> leaf number (-1: the high part does not occur)
    counts: Counts  # per leaf, > 0

    @property
    def depth(self) -> int:
        """The longest code length, in bits."""
        return int(self.lengths[-1])

    @property
    def bits(self) -> int:
        """Coded size of all integers, in bits."""
        return int((self.counts * (self.lengths + self.low)).sum())


def code_lengths(counts: Counts, limit: int) -> npt.NDArray[np.int64]:
    """Optimal code lengths of at most ``limit`` bits, by package-merge (Larmore & Hirschberg 1990).

    ``counts``: two or more positive counts, at most ``2**limit`` of them.
    """
    return np.array(_package_merge(tuple(int(c) for c in counts), limit), np.int64)


@lru_cache(maxsize=4096)
def _package_merge(counts: tuple[int, ...], limit: int) -> tuple[int, ...]:
    if len(counts) > 1 << limit:
        raise ValueError(f"{len(counts)} symbols do not fit codes of {limit} bits")
    order = sorted(range(len(counts)), key=lambda s: (counts[s], s))
    weights = np.array([counts[s] for s in order], np.int64)
    # A package is (weight, how many of the lightest leaves each level takes); only leaf tallies per level matter.
    merged = weights
    is_leaf = [np.ones(len(weights), bool)]
    for _ in range(limit - 1):
        pairs = merged[: len(merged) // 2 * 2].reshape(-1, 2).sum(axis=1)
        both = np.concatenate([weights, pairs])
        rank = np.argsort(both, kind="stable")
        merged = both[rank]
        is_leaf.append(rank < len(weights))
    lengths = np.zeros(len(counts), np.int64)
    take = 2 * len(counts) - 2
    for level in reversed(is_leaf):
        leaves = int(level[:take].sum())
        lengths[:leaves] += 1
        take = 2 * (take - leaves)
    result = np.empty(len(counts), np.int64)
    result[order] = lengths
    return tuple(int(v) for v in result)


def entropy_bits(counts: Counts) -> float:
    """Shannon's bound for all symbols together, in bits."""
    positive = counts[counts > 0].astype(np.float64)
    return float((positive * np.log2(positive.sum() / positive)).sum())


def _high_counts(counts: Counts, low: int, offset: int) -> Counts:
    """Counts of the high parts of ``symbol + offset``."""
    size = (len(counts) + offset + (1 << low) - 1) >> low
    padded = np.zeros(size << low, np.int64)
    padded[offset : offset + len(counts)] = counts
    sums: Counts = padded.reshape(size, 1 << low).sum(axis=1)
    return sums


def _split(counts: Counts) -> tuple[int, int]:
    """The most low bits, and the offset, whose entropy stays within ``LOW_BITS_LOSS`` of the best."""
    best = entropy_bits(counts)
    total = int(counts.sum())
    chosen = (0, 0)
    for low in LOW_BITS:
        for offset in sorted({0, (1 << low) // 2}):
            high = _high_counts(counts, low, offset)
            if (np.count_nonzero(high) << low) > 256 or np.count_nonzero(high) < 2:
                continue
            if entropy_bits(high) + low * total <= best * (1 + LOW_BITS_LOSS):
                chosen = (low, offset)
                break
    return chosen


def _shallow_lengths(counts: Counts, limit: int) -> npt.NDArray[np.int64]:
    """Code lengths of at most ``limit`` bits from the shallowest tree within ``DEPTH_LOSS`` of the best."""
    best = code_lengths(counts, limit)
    budget = float((counts * best).sum()) * (1 + DEPTH_LOSS)
    for depth in range(max(1, int(len(counts) - 1).bit_length()), limit):
        lengths = code_lengths(counts, depth)
        if float((counts * lengths).sum()) <= budget:
            return lengths
    return best


def code_for_indices(counts: Counts, low: int | None = None, limit: int = MAX_DEPTH) -> Code | None:
    """A code for codebook indices, whose order may be changed; ``low``: raw low bits, chosen where None.

    None where fewer than two highs occur, or more than ``limit`` levels or 256 slots hold.
    """
    low, offset = _split(counts) if low is None else (low, 0)
    high = _high_counts(counts, low, offset)
    used = np.flatnonzero(high)
    if not 2 <= len(used) <= min(1 << limit, 256 >> low):
        return None
    lengths = _shallow_lengths(high[used], limit)
    order = np.lexsort((used, lengths))
    leaf_of_high = np.full(len(high), -1)
    leaf_of_high[used[order]] = np.arange(len(used))
    return Code(low, offset, lengths[order], leaf_of_high, high[used][order])


def code_for_distances(counts: Counts, low: int, limit: int = MAX_DEPTH) -> Code | None:
    """A code for integers that keep their order (leaf number = high part), or None where a high part is unused."""
    high = _high_counts(np.trim_zeros(counts, "b"), low, 0)
    if not 2 <= len(high) <= min(1 << limit, 256 >> low) or not high.all():
        return None
    lengths = np.sort(_shallow_lengths(high, limit))
    return Code(low, 0, lengths, np.arange(len(high)), high)
