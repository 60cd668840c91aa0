"""What calibration inputs tell about which weights may go, and what the others can make up for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.passes.surgeon import DAMPING, Change, Factors, compensate, damping, factor, output_error

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer
    from onnxsqueeze.calibration.moments import Moments

Array = npt.NDArray[Any]

# Weights [outputs, inputs], which group and inputs these are, and factors -> what the weights become.
Operation = Callable[[Array, tuple[int, Array], Factors], Array]

MOST_GROUPS = 32
CACHED = 512 << 20  # bytes of moments whose factors are all kept
CRITERIA = ("auto", "magnitude", "wanda", "obd", "obs")


def measurable(layer: Layer, groups: int | None = MOST_GROUPS) -> bool:
    """Whether products with the weight are known, rather than how often its rows are picked, and of so many groups.

    Depthwise convolutions have many: when weights go, their few inputs make up for little.
    """
    matrices = layer.moments.matrices
    few = groups is None or len(matrices) <= groups
    return matrices.size > 0 and few and bool(np.isfinite(matrices).all())


def importance(layer: Layer, values: Array) -> Array:
    """|w| times the root mean square of its input: what its loss does to its output. Float32, shaped as the weight.

    Its square is the diagonal of the second derivative (Optimal Brain Damage, LeCun et al. 1990, for the squared error
    of the layer's own output); comparing it within each output is Wanda (Sun et al. 2024). Inputs never seen count as
    faint, not as absent.
    """
    power = layer.moments.diagonal
    power = power + DAMPING * power.mean(axis=1, keepdims=True)
    matrix = layer.reading.matrix(np.abs(values.astype(np.float32)))
    return layer.reading.restore(matrix * np.sqrt(power)[:, None, :])


def keep_per_output(layer: Layer, sizes: Array, sparsity: float) -> Array:
    """Mask (True = keep) that drops the least of each output, equally many; shaped as the weight."""
    matrix = layer.reading.matrix(sizes)
    count = int(sparsity * matrix.shape[2])
    order = np.argsort(matrix, axis=2, kind="stable")[:, :, :count]
    mask = np.ones(matrix.shape, bool)
    np.put_along_axis(mask, order, False, axis=2)
    return layer.reading.restore(mask)


class Surgery:
    """Removes weights and lets those that stay make up for them; factors are kept for layers fed alike."""

    def __init__(self) -> None:
        self._moments: Moments | None = None
        self._factors: dict[tuple[int, int, bytes], Factors] = {}

    def masked(self, layer: Layer, values: Array, keep: Array) -> Array:
        """Removes what a mask shaped as the weight does not keep."""
        mask = layer.reading.matrix(keep & (values != 0))

        def operate(weights: Array, place: tuple[int, Array], factors: Factors) -> Array:
            kept = np.ascontiguousarray(mask[place[0]][:, place[1]].T)

            def plan(start: int, columns: Array) -> Change:
                return lambda j, now: np.where(kept[j], now, 0)

            return _no_worse(weights, compensate(weights, factors.upper, plan), factors)

        return self.each(layer, values, operate).astype(values.dtype)

    def sparse(self, layer: Layer, values: Array, sparsity: float) -> Array:
        """Removes that share of single weights, by what each costs when the later ones make up for it."""

        def operate(weights: Array, place: tuple[int, Array], factors: Factors) -> Array:
            return _no_worse(
                weights, compensate(weights, factors.upper, Sparse(weights, factors, sparsity).plan), factors
            )

        return self.each(layer, values, operate).astype(values.dtype)

    def patterned(self, layer: Layer, values: Array, kept: int, group: int, axis: int) -> Array | None:
        """Keeps N of each M along an axis of the weight; None where these are not inputs of one output."""
        order = _order(layer, values.shape, group, axis)
        if order is None or layer.moments.matrices.shape[1] > 1:
            return None

        def operate(weights: Array, place: tuple[int, Array], factors: Factors) -> Array:
            plan = _Patterned(weights, factors, kept, group).plan
            return _no_worse(weights, compensate(weights, factors.upper, plan, group, group), factors)

        return self.each(layer, values, operate, order).astype(values.dtype)

    def each(self, layer: Layer, values: Array, operate: Operation, order: Array | None = None) -> Array:
        """Operates on each group and block of inputs, in the given order of them: float32, shaped as the weight."""
        matrix = layer.reading.matrix(values.astype(np.float32))
        result = np.array(matrix)
        for group, inputs, factors in self.parts(layer, matrix, order):
            result[group][:, inputs] = operate(matrix[group][:, inputs], (group, inputs), factors)
        return layer.reading.restore(result)

    def parts(self, layer: Layer, matrix: Array, order: Array | None = None) -> Iterator[tuple[int, Array, Factors]]:
        """Group, inputs and their factors, for each block of inputs whose moments are known."""
        matrices = layer.moments.matrices
        width = matrices.shape[2]
        order = np.arange(width) if order is None else order
        for group, block in np.ndindex(len(matrix), matrices.shape[1]):
            own = min(group, len(matrices) - 1)
            yield group, block * width + order, self._factored(layer.moments, own, block, order)

    def _factored(self, moments: Moments, group: int, block: int, order: Array) -> Factors:
        if self._moments is not moments:
            self._moments, self._factors = moments, {}
        key = group, block, order.tobytes()
        if key not in self._factors:
            if moments.matrices.nbytes > CACHED:
                self._factors.clear()
            matrix = moments.matrices[group, block]
            self._factors[key] = factor(matrix[np.ix_(order, order)], damping(matrix, moments.rows))
        return self._factors[key]


class Sparse:
    """Picks within blocks of columns (SparseGPT, Frantar and Alistarh 2023); what is zero already goes first.

    How many go in each block is what one threshold on the cost in the whole matrix says: inputs differ in power.
    """

    def __init__(self, weights: Array, factors: Factors, sparsity: float) -> None:
        self._zero = (weights == 0).T
        self._scale = np.diagonal(factors.upper)
        first = self._score(0, weights.T)
        count = int(sparsity * first.size)
        self._limit = np.partition(first.reshape(-1), count - 1)[count - 1] if count else -np.inf
        self._least = (first <= self._limit).sum(axis=1)  # of each input: so many go

    def plan(self, start: int, columns: Array) -> Change:
        score = self._score(start, columns)
        count = int(self._least[start : start + len(columns)].sum())
        keep = score >= 0
        if count > 0:
            order = np.argpartition(score.reshape(-1), count - 1)[:count]
            keep.reshape(-1)[order] = False
        return lambda j, now: np.where(keep[j - start], now, 0)

    def _score(self, start: int, columns: Array) -> Array:
        end = start + len(columns)
        score: Array = np.abs(columns) / self._scale[start:end, None]
        score[self._zero[start:end]] = -1
        return score


class _Patterned:
    """Picks within groups of M columns."""

    def __init__(self, weights: Array, factors: Factors, kept: int, group: int) -> None:
        self._zero = (weights == 0).T
        self._scale = np.diagonal(factors.upper)
        self._kept, self._group = kept, group

    def plan(self, start: int, columns: Array) -> Change:
        end = start + len(columns)
        score = np.abs(columns) / self._scale[start:end, None]
        score[self._zero[start:end]] = -1
        order = np.argsort(-score, axis=0, kind="stable")[: self._kept]
        keep = np.zeros(score.shape, bool)
        np.put_along_axis(keep, order, True, axis=0)
        keep &= score >= 0
        return lambda j, now: np.where(keep[j - start], now, 0)


def _order(layer: Layer, shape: tuple[int, ...], group: int, axis: int) -> Array | None:
    """The order of inputs in which the groups along ``axis`` are neighbours; None where they are not of one output."""
    if shape[axis] % group:
        return None
    moved = np.arange(int(np.prod(shape))).reshape(np.moveaxis(np.broadcast_to(np.int8(0), shape), axis, -1).shape)
    numbers = layer.reading.matrix(np.moveaxis(moved // group, -1, axis))
    order = np.argsort(numbers[0, 0], kind="stable")
    sorted_ = numbers[:, :, order]
    whole = sorted_.reshape(*sorted_.shape[:2], -1, group) if sorted_.shape[2] % group == 0 else None
    if whole is None or (whole != whole[..., :1]).any():
        return None
    return order


def _no_worse(weights: Array, made: Array, factors: Factors) -> Array:
    """For outputs that plain removal serves better, that."""
    plain = np.where(made == 0, 0, weights)
    better = output_error(plain - weights, factors) < output_error(made - weights, factors)
    return np.where(better[:, None], plain, made)
