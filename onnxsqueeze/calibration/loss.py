"""How far outputs have moved: decisions (labels, too) that changed, or variance left unexplained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.outputs import MOST_CLASSES, decided, is_distribution

Array = npt.NDArray[Any]

WINDOW = 32  # decisions of similar margin, on either side, whose changes are taken for one another's
FAINTEST = 1e-30


@dataclass(frozen=True)
class OutputLoss:
    """One output over all samples.

    ``measured``: the share of decisions that changed, or of the variance that is unexplained. ``expected``: for
    decisions, the share that changes of the kind seen would turn over if each met every decision of similar margin; it
    tells two models apart where the measured share is in steps; where all decisions are for one class, at least the
    unexplained variance of the margins. ``shift``: the square by which margins moved over that
    of the margins, or the unexplained variance: it adds up over small changes. ``doubt``: standard error of the value
    as an estimate for other samples.
    """

    output: str
    kind: str  # "decisions", "variance" or "score"
    count: int
    measured: float
    expected: float
    shift: float
    doubt: float = 0.0

    @property
    def value(self) -> float:
        """What a bound on the loss is held against."""
        return max(self.measured, self.expected)


@dataclass(frozen=True)
class Loss:
    """All outputs, and the task's own score where there is one: then that decides."""

    outputs: tuple[OutputLoss, ...]

    @property
    def deciding(self) -> tuple[OutputLoss, ...]:
        """The score where there is one, else all outputs."""
        return tuple(o for o in self.outputs if o.kind == "score") or self.outputs

    @property
    def value(self) -> float:
        """The worst output's, measured or expected."""
        return max((o.value for o in self.deciding), default=0.0)

    @property
    def bound(self) -> float:
        """The worst output's, with its standard error on top: what other samples are likely to lose at most."""
        return max((o.value + o.doubt for o in self.deciding), default=0.0)

    @property
    def measured(self) -> float:
        """The worst output's, as measured."""
        return max((o.measured for o in self.deciding), default=0.0)

    @property
    def shift(self) -> float:
        """Sum over the outputs."""
        return sum(o.shift for o in self.outputs)


@dataclass(eq=False)
class _Decisions:
    """Original decisions: winning classes, and how far they are ahead (log probabilities or logits)."""

    axis: int
    logs: bool
    count: int  # of classes
    classes: list[Array] = field(default_factory=list)
    margins: list[Array] = field(default_factory=list)

    def add(self, values: Array) -> None:
        scores = self._scores(values)
        best = scores.argmax(axis=-1)
        self.classes.append(best)
        self.margins.append(_margin(scores, best))

    def compare(self, name: str, runs: Sequence[Array]) -> OutputLoss:
        changed, moves = [], []
        for values, best, margin in zip(runs, self.classes, self.margins, strict=True):
            scores = self._scores(values)
            if scores.shape != (*best.shape, self.count):
                return OutputLoss(name, "decisions", 0, 1.0, 1.0, 1.0)
            changed.append((scores.argmax(axis=-1) != best).reshape(-1))
            moves.append((_margin(scores, best) - margin).reshape(-1))
        margins, moved = np.concatenate([m.reshape(-1) for m in self.margins]), np.concatenate(moves)
        flipped, turned = np.concatenate(changed), _turned(margins, moved)
        share, expected = (float(v.mean()) if len(moved) else 0.0 for v in (flipped, turned))
        counts = [m.size for m in self.margins]
        doubt = max(_doubt(_sums(v, counts), counts) for v in (flipped, turned))  # what is smooth varies too little
        if len(np.unique(np.concatenate([c.reshape(-1) for c in self.classes]))) < 2:
            expected = max(expected, _unexplained(margins, moved))  # a model that always says the same would do as well
        return OutputLoss(name, "decisions", len(moved), share, expected, _erosion(margins, moved), doubt)

    def _scores(self, values: Array) -> Array:
        """[..., classes], where differences mean the same everywhere; what is not finite loses."""
        scores = np.moveaxis(values.astype(np.float32), self.axis, -1)
        if self.logs:
            scores = np.log(np.maximum(scores, FAINTEST))
        return np.nan_to_num(scores, nan=-FAR, posinf=-FAR, neginf=-FAR)


FAR = 1e9


def _margin(scores: Array, best: Array) -> Array:
    """How far the class ``best`` is ahead of the next one."""
    own = np.take_along_axis(scores, best[..., None], axis=-1)[..., 0]
    others = scores.copy()
    np.put_along_axis(others, best[..., None], -np.inf, axis=-1)
    margin: Array = (own - others.max(axis=-1)).astype(np.float64)
    return margin


def _sums(values: Array, counts: Sequence[int]) -> list[float]:
    """Of each sample."""
    ends = np.cumsum(counts)
    return [float(values[end - count : end].sum()) for end, count in zip(ends, counts, strict=True)]


def _doubt(lost: Sequence[float], counts: Sequence[float]) -> float:
    """Standard error over samples of Σ lost / Σ counts, as of a ratio of means (Cochran 1977, section 6.4)."""
    total, number = sum(counts), len(counts)
    if number < 2 or total <= 0:
        return 0.0
    rate = sum(lost) / total
    squares = sum((one - rate * count) ** 2 for one, count in zip(lost, counts, strict=True))
    return float(np.sqrt(squares * number / (number - 1)) / total)


def _turned(margins: Array, moves: Array) -> Array:
    """How often each decision turns where it meets the moves of the ``2 * WINDOW + 1`` decisions of nearest margin."""
    order = np.argsort(margins, kind="stable")
    margins, moves = margins[order], moves[order]
    window = min(WINDOW, len(margins) - 1)
    turned = np.zeros(len(margins))
    met = np.zeros(len(margins))
    for offset in range(-window, window + 1):
        low, high = max(0, -offset), min(len(margins), len(margins) - offset)
        turned[low:high] += margins[low:high] + moves[low + offset : high + offset] < 0
        met[low:high] += 1
    found = np.empty(len(margins))
    found[order] = turned / np.maximum(met, 1)
    return found


def _unexplained(margins: Array, moves: Array) -> float:
    """Mean square of the moves over the variance of the margins."""
    spread = float(np.square(margins - margins.mean()).mean()) if len(margins) else 0.0
    moved = float(np.square(moves).mean()) if len(moves) else 0.0
    return moved / spread if spread > 0 else float(moved > 0)


def _erosion(margins: Array, moves: Array) -> float:
    """Mean square of the moves over that of the margins; close decisions count more than safe ones."""
    if not len(margins):
        return 0.0
    typical = max(float(np.quantile(margins, 0.25)), FAINTEST)
    weights = 1 / (1 + np.square(np.minimum(margins, FAR) / typical))
    moved = float((weights * np.square(np.clip(moves, -FAR, FAR))).sum())
    return moved / max(float((weights * np.square(margins)).sum()), FAINTEST)


@dataclass(eq=False)
class _Values:
    """Original values."""

    runs: list[Array] = field(default_factory=list)

    def add(self, values: Array) -> None:
        self.runs.append(values)

    def compare(self, name: str, runs: Sequence[Array]) -> OutputLoss:
        count = sum(run.size for run in self.runs)
        total = sum(float(np.nansum(_finite(run))) for run in self.runs)
        errors: list[float] = []
        spreads: list[float] = []
        for now, original in zip(runs, self.runs, strict=True):
            if now.shape != original.shape:
                return OutputLoss(name, "variance", 0, 1.0, 1.0, 1.0)
            first = _finite(original)
            second = np.where(np.isfinite(first), now.astype(np.float64), np.nan)
            errors.append(float(np.nansum(np.square(np.where(np.isfinite(second), second, FAR) - first))))
            spreads.append(float(np.nansum(np.square(first - total / max(count, 1)))))
        error, spread = sum(errors), sum(spreads)
        unexplained = error / spread if spread > 0 else float(error > 0)
        return OutputLoss(name, "variance", count, unexplained, unexplained, unexplained, _doubt(errors, spreads))


@dataclass(eq=False)
class _Labels:
    """Original whole numbers or truth values: each is a decision."""

    runs: list[Array] = field(default_factory=list)

    def add(self, values: Array) -> None:
        self.runs.append(values)

    def compare(self, name: str, runs: Sequence[Array]) -> OutputLoss:
        counts = [run.size for run in self.runs]
        pairs = zip(runs, self.runs, strict=True)
        changed = [float((now != own).sum() if now.shape == own.shape else own.size) for now, own in pairs]
        share = sum(changed) / max(1, sum(counts))
        return OutputLoss(name, "decisions", sum(counts), share, share, share, _doubt(changed, counts))


def _finite(values: Array) -> Array:
    """Float64, what is not finite as NaN."""
    wide = values.astype(np.float64)
    return np.where(np.isfinite(wide), wide, np.nan)


class Reference:
    """What the original model gives on some samples."""

    def __init__(self, outputs: Sequence[str], axes: Mapping[str, int], runs: Sequence[Sequence[Array]]) -> None:
        """``runs``: for each sample its outputs, in the order of ``outputs``; ``axes``: class axes that are known.

        What differs from sample to sample is no number of classes.
        """
        self._kept: dict[str, _Decisions | _Values | _Labels] = {}
        self._places = list(outputs)
        axes = decided(outputs, axes, runs[0]) if runs else {}
        for place, name in enumerate(outputs):
            values = [run[place] for run in runs]
            if any(v.size for v in values) and all(v.dtype.kind in "fiub" for v in values):
                kept = self._kept[name] = _kind(values, axes.get(name))
                for one in values:
                    kept.add(one)

    @property
    def names(self) -> list[str]:
        """Outputs that are compared: of numbers."""
        return list(self._kept)

    def compare(self, runs: Sequence[Sequence[Array]]) -> Loss:
        """The loss of a model that gives these outputs on the same samples."""
        return Loss(
            tuple(
                kept.compare(name, [run[self._places.index(name)] for run in runs]) for name, kept in self._kept.items()
            )
        )


def _kind(values: Sequence[Array], axis: int | None) -> _Decisions | _Values | _Labels:
    """How an output is judged, of which these are the values on each sample."""
    if values[0].dtype.kind != "f":
        return _Labels()
    first = next(v for v in values if v.size)
    distribution = is_distribution([np.moveaxis(first, axis, -1) if axis is not None and _fits(first, axis) else first])
    if axis is None and distribution:
        axis = -1
    if axis is None or not all(_fits(v, axis) and v.shape[axis] == first.shape[axis] for v in values):
        return _Values()
    if not 2 <= first.shape[axis] <= MOST_CLASSES:
        return _Values()
    return _Decisions(axis, distribution, first.shape[axis])


def _fits(values: Array, axis: int) -> bool:
    return -values.ndim <= axis < values.ndim
