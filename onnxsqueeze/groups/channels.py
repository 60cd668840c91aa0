"""Channels as atoms: which must go together, and which may not go at all.

Every axis that may lose positions carries *labels*, an integer array [positions, k]. A position is kept as long as none
of its atoms is removed; -1 stands for no atom. Most axes have k = 1. An axis that a Reshape splits into heads and
dimensions has k = 2: position 65 of 384 goes with head 1, and with dimension 1 of all heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Labels = npt.NDArray[np.int64]
NONE = -1


@dataclass(frozen=True)
class Cause:
    """Why channels cannot be removed."""

    node: str
    op_type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.op_type} '{self.node}': {self.reason}" if self.node else self.reason


@dataclass(frozen=True, eq=False)
class Solution:
    """What each atom came to."""

    terms: Labels  # [atoms, k]: the units that each atom goes with; NONE where there are fewer
    cause: npt.NDArray[np.int64]  # [units]: index of the first cause that blocks the unit, NONE where it is free
    units: int


@dataclass(eq=False)
class Channels:
    """Collects what is known of atoms, then solves it."""

    causes: list[Cause] = field(default_factory=list)
    vectors: list[tuple[int, int]] = field(default_factory=list)  # first atom and count of each run of fresh atoms
    atoms: int = 0
    _equal: list[Labels] = field(default_factory=list)  # [m, 2]
    _made_of: list[tuple[Labels, Labels]] = field(default_factory=list)  # atoms [m], what they consist of [m, k]
    _blocked: list[tuple[Labels, int]] = field(default_factory=list)

    def fresh(self, count: int) -> Labels:
        """New labels for an axis of ``count`` positions that are independent of each other."""
        self.vectors.append((self.atoms, count))
        labels = np.arange(self.atoms, self.atoms + count, dtype=np.int64)[:, None]
        self.atoms += count
        return labels

    def block(self, labels: Labels | None, cause: Cause) -> None:
        """These positions must stay."""
        if labels is not None and labels.size:
            if not self.causes or self.causes[-1] != cause:
                self.causes.append(cause)
            self._blocked.append((labels[labels != NONE], len(self.causes) - 1))

    def unify(self, one: Labels, other: Labels, cause: Cause) -> None:
        """Position by position, the two axes are the same channels."""
        if one is other:
            return
        counts = (one != NONE).sum(axis=1), (other != NONE).sum(axis=1)
        if one.shape[1] == other.shape[1] == 1 and counts[0].all() and counts[1].all():
            self._equal.append(np.hstack([one, other]))
            return
        one, other = _left(one), _left(other)
        for first, second in set(zip(counts[0].tolist(), counts[1].tolist(), strict=True)):
            rows = (counts[0] == first) & (counts[1] == second)
            self._unify_rows(one[rows, :first], other[rows, :second], cause)

    def _unify_rows(self, one: Labels, other: Labels, cause: Cause) -> None:
        if one.shape[1] == other.shape[1]:
            self._equal.extend(np.stack([one[:, c], other[:, c]], axis=1) for c in range(one.shape[1]))
        elif one.shape[1] == 1 and other.shape[1]:
            self._made_of.append((one[:, 0], other))
        elif other.shape[1] == 1 and one.shape[1]:
            self._made_of.append((other[:, 0], one))
        else:
            self.block(one, cause)
            self.block(other, cause)

    def join(self, parts: list[tuple[Labels | None, int]]) -> Labels | None:
        """Labels of one axis that runs over several, the last fastest: [product of sizes, sum of k]."""
        if all(labels is None for labels, _ in parts):
            return None
        total = int(np.prod([size for _, size in parts]))
        columns, inner = [], total
        outer = 1
        for labels, size in parts:
            inner //= size
            if labels is not None:
                columns.append(np.tile(np.repeat(labels, inner, axis=0), (outer, 1)))
            outer *= size
        return np.concatenate(columns, axis=1)

    def split(self, labels: Labels, sizes: list[int], cause: Cause) -> list[Labels | None]:
        """Labels of several axes that together run over one; the inverse of ``join``."""
        if len(sizes) == 1:
            return [labels]
        rows, columns = sizes[0], int(np.prod(sizes[1:]))
        head: list[Labels] = []
        tail: list[Labels] = []
        fresh: tuple[Labels, Labels] | None = None
        for column in labels.T:
            table = column.reshape(rows, columns)
            if (table == table[:, :1]).all():
                head.append(table[:, :1])
            elif (table == table[:1]).all():
                tail.append(table[:1].T)
            else:
                fresh = fresh or (self.fresh(rows), self.fresh(columns))
                self._cross(table, *fresh, cause)
        if fresh is not None:
            head.append(fresh[0])
            tail.append(fresh[1])
        rest = self.split(np.hstack(tail), sizes[1:], cause) if tail else [None] * (len(sizes) - 1)
        return [np.hstack(head) if head else None, *rest]

    def _cross(self, table: Labels, head: Labels, tail: Labels, cause: Cause) -> None:
        """Each entry of the table goes with its row and with its column."""
        there = table != NONE
        both = np.stack(np.broadcast_arrays(head, tail.T), axis=-1)
        self._made_of.append((table[there], both[there]))
        self.block(head[~there.all(axis=1)], cause)
        self.block(tail[~there.all(axis=0)], cause)

    def solve(self) -> Solution:
        """Units: classes of atoms that go together and consist of nothing else."""
        split = Cause("", "", "is split into axes in two ways that do not fit together")
        while True:
            count, of = self._components()
            more = self._agree(of, split)
            if not more:
                break
            self._equal.extend(more)
        terms = self._expand(count, of)
        return self._finish(count, of, terms)

    def _components(self) -> tuple[int, Labels]:
        pairs = np.concatenate(self._equal) if self._equal else np.empty((0, 2), np.int64)
        matrix = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (self.atoms, self.atoms))
        count, of = connected_components(matrix, directed=False)
        return int(count), of.astype(np.int64)

    def _table(self, of: Labels) -> tuple[Labels, Labels]:
        """All that is known of what classes consist of: classes [m], and classes [m, k]."""
        width = max((parts.shape[1] for _, parts in self._made_of), default=1)
        wholes = [atoms for atoms, _ in self._made_of]
        parts = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=NONE) for _, p in self._made_of]
        if not wholes:
            return np.empty(0, np.int64), np.empty((0, 1), np.int64)
        joined = np.concatenate(parts)
        whole = of[np.concatenate(wholes)]
        part = np.where(joined == NONE, NONE, of[joined])
        _, unique = np.unique(np.column_stack([whole, part]), axis=0, return_index=True)
        return whole[unique], part[unique]

    def _agree(self, of: Labels, cause: Cause) -> list[Labels]:
        """Where one class consists of parts in two ways, the parts are the same; new equalities of atoms."""
        whole, part = self._table(of)
        some = np.empty(int(of.max(initial=-1)) + 1, np.int64)
        some[of] = np.arange(self.atoms)
        same = np.flatnonzero(whole[1:] == whole[:-1])
        one, other = part[same], part[same + 1]
        odd = ((one == NONE) != (other == NONE)).any(axis=1)
        for rows in (one[odd], other[odd]):
            if rows.size:
                self.block(np.where(rows == NONE, NONE, some[rows]), cause)
        pairs = np.stack([one[~odd], other[~odd]], axis=-1).reshape(-1, 2)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        return [some[pairs]] if len(pairs) else []

    def _expand(self, count: int, of: Labels) -> Labels:
        """For every class the classes that it finally consists of: [classes, k]."""
        whole, part = self._table(of)
        entry = np.full(count, NONE, np.int64)
        entry[whole] = np.arange(len(whole))
        terms = np.arange(count, dtype=np.int64)[:, None]
        for _ in range(8):
            rows = np.where(terms == NONE, NONE, entry[terms])
            if (rows == NONE).all():
                return terms
            columns = []
            for column, row in zip(terms.T, rows.T, strict=True):
                plain = np.full((count, part.shape[1]), NONE, np.int64)
                plain[:, 0] = column
                columns.append(np.where((row == NONE)[:, None], plain, part[row]))
            terms = _distinct(np.concatenate(columns, axis=1))
        endless = np.flatnonzero((np.where(terms == NONE, NONE, entry[terms]) != NONE).any(axis=1))
        reason = Cause("", "", "is split into axes in endless ways")
        some = np.empty(count, np.int64)
        some[of] = np.arange(self.atoms)
        self.block(some[endless][:, None], reason)
        return terms

    def _finish(self, count: int, of: Labels, terms: Labels) -> Solution:
        cause = np.full(count, len(self.causes), np.int64)
        for atoms, number in self._blocked:
            touched = np.unique(terms[of[atoms]])
            touched = touched[touched != NONE]
            cause[touched] = np.minimum(cause[touched], number)
        cause[cause == len(self.causes)] = NONE
        return Solution(terms[of], cause, count)


def _left(labels: Labels) -> Labels:
    """Each row with its atoms first, in their order."""
    order = np.argsort(labels == NONE, axis=1, kind="stable")
    return np.take_along_axis(labels, order, axis=1)


def _distinct(terms: Labels) -> Labels:
    """Each row without repetitions, as narrow as can be."""
    rows = np.sort(terms, axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = NONE
    rows = _left(rows)
    width = max(1, int((rows != NONE).sum(axis=1).max(initial=0)))
    return rows[:, :width]
