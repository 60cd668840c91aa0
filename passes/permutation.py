"""Orders of input channels under which N:M pruning loses less (Pool & Yu 2021, Channel Permutations for N:M Sparsity).

The order of a layer's input channels is free as long as whatever makes them is put in the same order.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group, Groups, analyse, permutable, permute

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
ROWS = 1024  # rows of the weights that are looked at, evenly spread
ROUNDS = 150  # at most
PATIENCE = 4  # rounds without gain after which an order is taken as good
LEAST = 1e-4  # relative gain of a round that counts


def rearrange(model: Model, places: Collection[tuple[int, str]], kept: int, group: int, context: Context) -> int:
    """Puts channels in an order that keeps more magnitude under ``kept`` of each ``group``; returns groups changed.

    ``places``: scope and name of the weights that are going to be pruned. The model computes the same as before.
    """
    groups = analyse(model)
    jobs = []
    for found in permutable(groups):
        rows = _rows(groups, found, places, group)
        if rows is not None and found.width > group:
            jobs.append((found, rows))
    orders = context.each(
        "permute", lambda job: best_order(job[1], kept, group, context.seed), jobs, lambda job: f"group {job[0].id}"
    )
    return permute(groups, {found.id: order for (found, _), order in zip(jobs, orders, strict=True)})


def _rows(groups: Groups, group: Group, places: Collection[tuple[int, str]], size: int) -> Array | None:
    """Magnitudes of all weights that read the group as [rows, units]; None where no order of it matters.

    Readers count whose groups of ``size`` inputs hold only channels of this group.
    """
    readers = []
    for member in group.of("consumer"):
        first = member.positions[:, 0]
        whole = first[0] % size == 0 and group.width % size == 0 and bool((np.diff(first) == 1).all())
        if whole and member.positions.shape[1] == 1 and (member.scope, member.tensor) in places:
            readers.append(member)
    matrices = [groups.matrix(member)[:, 0, :] for member in readers]
    step = -(-sum(matrix.shape[1] for matrix in matrices) // ROWS)
    rows = [np.abs(matrix[:, ::step].T.astype(np.float32)) for matrix in matrices]
    return np.ascontiguousarray(np.concatenate(rows)) if rows else None


def best_order(rows: Array, kept: int, group: int, seed: int) -> npt.NDArray[np.int64]:
    """An order of the columns of [rows, columns] under which the ``kept`` largest of each ``group`` add up to more.

    Groups are paired at random, and each pair makes the one swap of two columns that gains most, until nothing is
    gained for some rounds: the paper's greedy channel swaps, many pairs at a time.
    """
    random = np.random.default_rng(seed)
    count = rows.shape[1] // group
    order = np.arange(rows.shape[1])
    total, idle = _retained(rows.reshape(len(rows), count, group), kept).sum(), 0
    for _ in range(ROUNDS):
        pairs = random.permutation(count)[: count // 2 * 2].reshape(-1, 2)
        gain = _swap(rows, order, pairs, kept, group)
        idle = 0 if gain > LEAST * total else idle + 1
        total += gain
        if idle == PATIENCE:
            break
    return order


def _retained(blocks: Array, kept: int) -> Array:
    """Sum of the ``kept`` largest of the last axis."""
    cut = blocks.shape[-1] - kept
    found: Array = np.partition(blocks, cut, axis=-1)[..., cut:].sum(axis=-1)
    return found


def _without(blocks: Array, kept: int) -> tuple[Array, Array]:
    """For each element: what the others retain, and the least of that: both shaped like ``blocks``."""
    ordered = np.sort(blocks, axis=-1)
    last, next_ = ordered[..., -kept, None], ordered[..., -kept - 1, None]
    top = blocks >= last
    total = ordered[..., -kept:].sum(axis=-1, keepdims=True)
    return total - np.where(top, blocks - next_, 0), np.where(top, next_, last)


def _swap(rows: Array, order: npt.NDArray[np.int64], pairs: Array, kept: int, group: int) -> float:
    """Makes the best swap of each pair of groups, in ``order``; returns what is gained."""
    places = order.reshape(-1, group)
    left, right = rows[:, places[pairs[:, 0]]], rows[:, places[pairs[:, 1]]]  # [rows, pairs, group]
    before = (_retained(left, kept) + _retained(right, kept)).sum(axis=0)
    (left_rest, left_least), (right_rest, right_least) = _without(left, kept), _without(right, kept)
    rest = left_rest.sum(axis=0)[:, :, None] + right_rest.sum(axis=0)[:, None, :]  # [pairs, group, group]
    best, swap = np.zeros(len(pairs)), np.full(len(pairs), -1)
    for number in range(group * group):
        i, j = divmod(number, group)
        added = np.maximum(right[..., j] - left_least[..., i], 0) + np.maximum(left[..., i] - right_least[..., j], 0)
        gain = rest[:, i, j] + added.sum(axis=0) - before
        better = gain > np.maximum(best, 1e-6 * before)
        best[better], swap[better] = gain[better], number
    for pair, number in zip(pairs[swap >= 0], swap[swap >= 0], strict=True):
        i, j = divmod(int(number), group)
        one, other = pair[0] * group + i, pair[1] * group + j
        order[one], order[other] = order[other], order[one]
    return float(best.sum())
