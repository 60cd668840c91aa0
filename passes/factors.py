"""Factors of a weight: truncated singular value decompositions of the ways in which it can be seen as a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from onnxsqueeze.passes.bounds import channel_squares
from onnxsqueeze.passes.layers import Ints, Layer, Stage

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scheme:
    """Which axes of the weight belong to the second stage (rows of the matrix) and to the first (its columns)."""

    name: str
    second: Ints
    first: Ints


PRODUCT = Scheme("product", (0,), (1,))


def schemes(layer: Layer) -> list[Scheme]:
    """The ways to see a weight as a matrix.

    For a convolution [O, I, k…]: ``output``, k… then 1×1; ``input``, 1×1 then k…; for pictures also ``rows``, k×1
    then 1×k, and ``columns`` (Jaderberg et al. 2014; the optimum of their scheme 2 in closed form: Tai et al. 2016).
    """
    if layer.kind != "conv":
        return [PRODUCT]
    kernel, spatial = layer.weight.shape[2:], tuple(range(2, len(layer.weight.shape)))
    found = [Scheme("output", (0,), (1, *spatial))]
    if math.prod(kernel) > 1:
        found.append(Scheme("input", (0, *spatial), (1,)))
    if len(kernel) == 2 and min(kernel) > 1:
        found += [Scheme("rows", (0, 3), (1, 2)), Scheme("columns", (0, 2), (1, 3))]
    return found


def per_rank(layer: Layer, scheme: Scheme) -> tuple[int, int]:
    """Parameters and multiply-accumulates that each rank costs, over both stages."""
    shape = layer.weight.shape
    one, two = (math.prod(shape[axis] for axis in axes) for axes in (scheme.first, scheme.second))
    macs = 0
    for before, behind in layer.positions:
        inner = math.prod(
            behind[axis] if axis + 2 in scheme.first else before[axis] for axis in range(len(before))
        )  # the first stage has the strides and kernels of its own axes only
        macs += one * inner + two * math.prod(behind)
    return one + two, macs


def limit(layer: Layer, scheme: Scheme) -> int:
    """The largest rank that saves both parameters, what more nodes take counted in, and multiply-accumulates."""
    parameters, macs = per_rank(layer, scheme)
    return min((layer.most_parameters - 1) // parameters, (layer.macs - 1) // macs)


class Matrix:
    """A weight seen as a matrix [second, first], each output channel over its own scale."""

    def __init__(self, layer: Layer, scheme: Scheme, balanced: bool) -> None:
        values = _oriented(layer).astype(np.float64)
        self.scheme, self.shape, self.kind = scheme, values.shape, layer.kind
        squares = channel_squares(values, 0) if balanced else np.ones(len(values))
        self._scale = np.sqrt(squares).reshape(-1, *[1] * (values.ndim - 1))
        ordered = np.transpose(values / self._scale, scheme.second + scheme.first)
        rows = math.prod(self.shape[axis] for axis in scheme.second)
        self.values = np.ascontiguousarray(ordered).reshape(rows, -1)
        wide = self.values.shape[0] <= self.values.shape[1]
        self._wide, self._gram = wide, self.values @ self.values.T if wide else self.values.T @ self.values

    def squares(self) -> Array:
        """Squares of the singular values, the largest first."""
        found = scipy.linalg.eigvalsh(self._gram, overwrite_a=False, check_finite=False)[::-1]
        return np.asarray(np.maximum(found, 0))

    def stages(self, rank: int, dtype: Any) -> tuple[Stage, Stage] | None:
        """The first and the second stage of this rank; None where they do not fit into the type."""
        size = len(self._gram)
        squares, vectors = scipy.linalg.eigh(self._gram, subset_by_index=(size - rank, size - 1), check_finite=False)
        floor = max(1e-16 * float(squares[-1]), 1e-300)  # below it all is rounding
        root = np.maximum(squares, floor) ** 0.25  # halves of the singular values on both sides, for narrow types
        other = vectors.T @ self.values if self._wide else self.values @ vectors
        left, right = (vectors * root, other / root[:, None]) if self._wide else (other / root, (vectors * root).T)
        with np.errstate(over="ignore"):
            made = self._second(left).astype(dtype), self._first(right).astype(dtype)
        if not all(np.isfinite(part).all() for part in made):
            return None
        one, two = (self._axes(axes) for axes in (self.scheme.first, self.scheme.second))
        if self.kind == "conv":
            return Stage(made[1], one), Stage(made[0], two)
        return _as_used(self.kind, made[1], made[0])

    def _axes(self, axes: Ints) -> Ints:
        return tuple(axis - 2 for axis in axes if axis >= 2)

    def _second(self, left: Array) -> Array:
        """[rows, rank] as [O, rank, own kernel axes, 1 along the others]."""
        own = self.scheme.second
        split = left.reshape(*(self.shape[axis] for axis in own), -1)
        values = np.moveaxis(split, -1, 1)
        values = values * self._scale.reshape(-1, *[1] * (values.ndim - 1))
        return values.reshape(self.shape[0], -1, *self._kernel(own))

    def _first(self, right: Array) -> Array:
        """[rank, columns] as [rank, I, own kernel axes, 1 along the others]."""
        return right.reshape(len(right), self.shape[1], *self._kernel(self.scheme.first))

    def _kernel(self, own: Ints) -> list[int]:
        return [size if axis + 2 in own else 1 for axis, size in enumerate(self.shape[2:])]


def _oriented(layer: Layer) -> Array:
    """The weight with its output channels first."""
    values = layer.weight.values()
    return values.T if layer.kind in ("gemm 0", "right") else values


def _as_used(kind: str, first: Array, second: Array) -> tuple[Stage, Stage]:
    """Factors [rank, inputs] and [outputs, rank] as the nodes want them."""
    if kind in ("gemm 0", "right"):
        return Stage(first.T), Stage(second.T)
    return (Stage(second), Stage(first)) if kind == "left" else (Stage(first), Stage(second))
