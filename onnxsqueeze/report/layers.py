"""The weights of two models side by side: what each was, what it became, and how far its values moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.report.facts import family
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.model import Weight
    from onnxsqueeze.pipeline.context import Context
    from onnxsqueeze.report.stored import Stored

Array = npt.NDArray[Any]
Pair = tuple["Weight | None", "Weight | None"]

BINS = 48
SPREAD = 5.0  # root mean squares of the nonzero values that a histogram shows at most


@dataclass(frozen=True)
class Side:
    """One weight in one of the two files."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: str  # in words
    nbytes: int  # as stored
    zeros: float  # fraction
    reach: float  # the histogram's range is [-reach, reach]; its outermost bins take what lies outside
    histogram: tuple[int, ...]  # counts of the values that are not zero

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def bits(self) -> float:
        """Stored bits a weight, codebooks and names included."""
        return 8 * self.nbytes / self.elements


@dataclass(frozen=True)
class Layer:
    """One weight before and after; None where a file does not have it."""

    name: str
    op_type: str  # of the first node that it feeds
    before: Side | None
    after: Side | None
    error: float | None  # ‖after − s·before‖ / ‖after‖, with the best factor s for each channel: folding changes those

    @property
    def saved(self) -> int:
        """Bytes that are gone."""
        return nbytes(self.before) - nbytes(self.after)


def nbytes(side: Side | None) -> int:
    """Stored bytes; none where there is no weight."""
    return 0 if side is None else side.nbytes


def compare(original: Stored, compressed: Stored, context: Context) -> tuple[Layer, ...]:
    """Every weight of 64 elements or more of either file, in the original's order; then those that are new."""
    pairs = list(pair(original.model.weights(), compressed.model.weights()))

    def measure(both: Pair) -> Layer:
        return _layer(both, original, compressed)

    return tuple(context.each("compare weights", measure, pairs, lambda both: _first(both).name))


def pair(before: Sequence[Weight], after: Sequence[Weight]) -> Iterator[Pair]:
    """Weights of the same name, then those left over by their order in the graph, where role and shape agree."""
    names = {w.name: w for w in after}
    found = {w.name: names.pop(w.name) for w in before if w.name in names}
    left, right = [w for w in before if w.name not in found], list(names.values())
    kinds = [[(w.role, w.shape) for w in side] for side in (left, right)]
    for i, j, count in SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_matching_blocks():
        found |= {left[i + k].name: right[j + k] for k in range(count)}
    for weight in before:
        yield weight, found.get(weight.name)
    used = {w.name for w in found.values()}
    yield from ((None, w) for w in after if w.name not in used)


def _first(both: Pair) -> Weight:
    weight = both[0] or both[1]
    assert weight is not None
    return weight


def _layer(both: Pair, original: Stored, compressed: Stored) -> Layer:
    weight = _first(both)
    before, after = (None if w is None else w.values().astype(np.float32, copy=False) for w in both)
    return Layer(
        weight.name,
        weight.uses[0].op_type if weight.uses else "",
        None if before is None or both[0] is None else _side(both[0], before, original),
        None if after is None or both[1] is None else _side(both[1], after, compressed),
        None if before is None or after is None else _error(weight, before, after),
    )


def _side(weight: Weight, values: Array, stored: Stored) -> Side:
    encoding, size = stored.place(weight)
    words = str(weight.dtype) if encoding == "dense" else family(encoding)
    found = native.stats(values)
    reach = _reach(values, found)
    counts = native.histogram(values[values != 0] if found.zeros else values, -reach, reach, BINS)[0]
    return Side(
        weight.name,
        weight.shape,
        str(weight.dtype),
        words,
        size,
        found.zeros / values.size,
        reach,
        tuple(map(int, counts)),
    )


def _reach(values: Array, found: native.Stats) -> float:
    """A range around zero that shows nearly all values."""
    if not found.finite or found.abs_max == 0:
        return 1.0
    flat = values.reshape(-1) / np.float32(found.abs_max)  # so that squares do not overflow
    mean_square = float(np.dot(flat, flat)) / (values.size - found.zeros)
    return found.abs_max * min(1.0, SPREAD * math.sqrt(mean_square))


def _error(weight: Weight, before: Array, after: Array) -> float | None:
    if before.shape != after.shape or not (native.stats(before).finite and native.stats(after).finite):
        return None
    if np.array_equal(before, after):
        return 0.0
    if weight.role == "other":
        return None  # biases and factors take in others when BatchNormalization is folded
    axes, channel = list(range(before.ndim)), [] if weight.channel_axis is None else [weight.channel_axis % before.ndim]
    pairs = ((before, before), (before, after), (after, after))
    aa, ab, bb = (np.asarray(np.einsum(x, axes, y, axes, channel, dtype=np.float64)) for x, y in pairs)
    explained = np.divide(ab**2, aa, out=np.zeros_like(aa), where=aa > 0)
    total = float(np.sum(bb))
    return math.sqrt(max(0.0, total - float(np.sum(explained))) / total) if total else 1.0
