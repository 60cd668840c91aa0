"""Whole clusters of units merged at once, their statistics repaired without data (Model Folding, Wang et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.cluster.vq import kmeans2

from onnxsqueeze.groups import Group, Member
from onnxsqueeze.passes.merge_features import Units

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64]
ROUNDS = 30  # of k-means
VARIANCE = 4  # input of BatchNormalization


@dataclass(frozen=True, eq=False)
class Tree:
    """Clusters of rows [width, n] by Ward's criterion, from single rows up to one cluster."""

    rows: Array
    links: Array

    @property
    def lost(self) -> Array:
        """Squared distances from the centres as a share of all squares, with each cluster less: [width - 1]."""
        return np.asarray(np.cumsum(np.square(self.links[:, 2]) / 2) / max(float(np.square(self.rows).sum()), 1e-30))

    def labels(self, count: int) -> Order:
        """The cluster of each row, ``count`` of them: k-means, begun at Ward's."""
        first = fcluster(self.links, count, "maxclust") - 1
        _, found = kmeans2(self.rows, _means(first) @ self.rows, ROUNDS, minit="matrix", missing="warn")
        return np.asarray(found if len(np.unique(found)) == count else first, np.int64)


def tree(rows: Array) -> Tree:
    """All clusterings of rows of weights."""
    values = rows.astype(np.float64)
    return Tree(values, linkage(values, "ward"))


def fold(units: Units, group: Group, labels: Order) -> tuple[Order, Any]:
    """Makes the first unit of every cluster the mean of all: the units that stay, and what reading weights are made of.

    The mean of units that differ varies less than each. Where a BatchNormalization follows, its variance becomes that
    of the mean, from the correlations of the weights; elsewhere the mean is made as large as the units are.
    """
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    kept, means = np.sort(first), _means(np.argsort(np.argsort(first))[labels])
    directions = {}
    for member in group.of("producer"):
        rows = units.values(member).reshape(group.width, -1).astype(np.float64)
        sizes = np.linalg.norm(rows, axis=1)
        norm = units.norm_behind(member)
        factor = np.ones(len(kept))
        if norm is None:
            factor = np.sqrt(means @ np.square(sizes)) / np.maximum(np.linalg.norm(means @ rows, axis=1), 1e-30)
        else:
            directions[norm] = rows / np.maximum(sizes, 1e-30)[:, None]
        _replace(units, member, kept, factor[:, None] * (means @ rows))
    for member in group.of("parameter"):
        values, place = units.values(member).reshape(group.width, -1).astype(np.float64), units.place(member)
        if place is not None and place[1] == VARIANCE and place[0] in directions:
            spread = means @ (np.sqrt(np.maximum(values, 0)) * directions[place[0]])
            _replace(units, member, kept, np.square(spread).sum(axis=1, keepdims=True))
        else:
            _replace(units, member, kept, means @ values)
    return kept, means.sign()


def _means(labels: Order) -> Any:
    """The matrix [clusters, width] that takes means."""
    return scipy.sparse.csr_matrix((1 / np.bincount(labels)[labels], (labels, np.arange(len(labels)))))


def _replace(units: Units, member: Member, kept: Order, rows: Array) -> None:
    values = units.values(member)
    values[kept] = rows.reshape(len(kept), *values.shape[1:])
    units.groups.assign(member, values)
