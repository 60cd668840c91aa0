"""Looking for the coarsest grids whose measured loss stays within a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxsqueeze.passes.grids import told
from onnxsqueeze.passes.rate_distortion import Table, within

if TYPE_CHECKING:
    from onnxsqueeze.calibration.trial import Proof, Trial
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes.grids import Choices, Grids, State
    from onnxsqueeze.pipeline.store import Store

FINEST, COARSEST = 1e-9, 1e2  # predicted losses that the search goes down and up to
NARROW = 1.06  # ratio of predicted losses at which it ends
ROUGHLY, EVALUATIONS = 1.25, 24  # the same, and measurements at most, before weights are fitted in order
REFITS = 4  # further measurements at most, with weights fitted in order where that loses less
GROWN, MOST_GROWN = 1.2, 4.0  # steps of the predicted loss from there
SAVED, LEAST_SAVED = 0.85, 0.3  # of the predicted loss, where the samples held out lost more than was asked for
TRIES = 10
APPROACHES = 2  # measurements more, once it holds after it did not


@dataclass(frozen=True, eq=False)
class Point:
    """Weights on grids whose loss is within the limit."""

    predicted: float
    value: float
    refit: bool
    chosen: Choices
    state: State | None  # None where the loss is known from an earlier run


class Search:
    """The largest predicted loss, and so the fewest bytes, for which the measured one holds."""

    def __init__(
        self,
        model: Model,
        grids: Grids,
        tables: Sequence[Table],
        limit: float,
        trial: Trial,
        store: Store,
        tell: Callable[[str], None],
    ) -> None:
        self._model, self._grids, self._tables = model, grids, tables
        self._limit, self._trial, self._store, self._tell = limit, trial, store, tell
        self.best: Point | None = None

    def run(self, proof: Proof | None, refit: bool) -> bool:
        """Leaves the model at the best point, which holds on samples held out, too; False where there is none.

        ``refit``: whether weights may be fitted in the order of their use.
        """
        self._look(False, self._limit, EVALUATIONS, ROUGHLY if refit else NARROW)
        if self.best and refit:
            plain = self.best
            value = self._measure(plain.predicted, True)
            refit = value <= plain.value
            growth = float(np.clip(self._limit / max(value, 1e-9), GROWN, MOST_GROWN)) if refit else np.sqrt(ROUGHLY)
            self._look(refit, growth * plain.predicted, REFITS, NARROW, plain.predicted)
        failed = 0.0
        for _ in range(TRIES):
            if self.best is None:
                return False
            self._put(self.best)
            value = 0.0 if proof is None else proof.loss(self._model)
            self._tell(f"{100 * value:.2f} % unseen")
            if value <= self._limit:
                self._approach(proof, failed)
                return True
            point, self.best = self.best, None
            failed = point.predicted
            share = float(np.clip(SAVED * self._limit / value, LEAST_SAVED, SAVED))
            self._measure(share * point.predicted, point.refit)
            if self.best is None:
                self._look(False, share * point.predicted, EVALUATIONS, ROUGHLY)
        return False

    def _approach(self, proof: Proof | None, failed: float) -> None:
        """From a point that holds towards one that did not on the samples held out, half of the way and again."""
        for _ in range(APPROACHES if failed else 0):
            assert self.best is not None
            assert proof is not None
            point = self.best
            middle = float(np.sqrt(point.predicted * failed))
            self._measure(middle, point.refit)
            if self.best is not point:
                self._put(self.best)  # what is known from an earlier run has not been made in this one
                if proof.loss(self._model) <= self._limit:
                    continue
            self.best, failed = point, middle
            self._put(point)

    def _look(self, refit: bool, start: float, most: int, narrow: float, low: float | None = None) -> None:
        largest(lambda loss: self._measure(loss, refit), self._limit, start, most, narrow, low)

    def _measure(self, predicted: float, refit: bool) -> float:
        choices = within(self._tables, predicted, 1)
        chosen = {t.name: c for t, c in zip(self._tables, choices, strict=True)}
        made = False

        def measure() -> float:
            nonlocal made
            made = True
            self._apply(chosen, refit)
            return self._trial.loss(self._model).bound

        key = {**self._grids.key, "judged": self._trial.key, "choices": told(chosen), "refit": refit}
        value = self._store.recall("step", key, measure, float, float)
        self._tell(f"{100 * value:.2f} %")
        best = self.best
        if value <= self._limit and (not best or (predicted, best.value) > (best.predicted, value)):
            self.best = Point(predicted, value, refit, chosen, self._grids.state() if made else None)
        return value

    def _put(self, point: Point) -> None:
        """Brings the weights to where they were at a point."""
        if point.state is None:
            self._apply(point.chosen, point.refit)
        else:
            self._grids.put(point.state)

    def _apply(self, chosen: Choices, refit: bool) -> None:
        (self._grids.refit if refit else self._grids.apply)(chosen)


def largest(
    value: Callable[[float], float], limit: float, start: float, most: int, narrow: float, low: float | None = None
) -> float | None:
    """The largest place in [FINEST, COARSEST] found whose value is within a limit; None for none.

    Steps as far as the value is from the limit, then interpolates; ``low``: a place that is known to hold.
    """
    held: tuple[float, float] | None = None if low is None else (low, limit)
    missed: tuple[float, float] | None = None
    place = start
    for _ in range(most):
        found = max(value(place), 1e-3 * limit)
        if found <= limit:
            held = place, found
        else:
            missed = place, found
        if held and (held[0] >= COARSEST or (missed and missed[0] / held[0] <= narrow)):
            break
        if missed and not held and missed[0] <= FINEST:
            return None
        place = float(np.clip(_next(held, missed, limit), FINEST, COARSEST))
    return held[0] if held else None


def _next(held: tuple[float, float] | None, missed: tuple[float, float] | None, limit: float) -> float:
    if held is None:
        assert missed is not None
        return missed[0] * float(np.clip(0.9 * limit / missed[1], 1 / 16, 0.7))
    if missed is None:
        return held[0] * float(np.clip(limit / held[1], 1.3, 4))
    rise = np.log(missed[1] / held[1])
    share = np.log(limit / held[1]) / rise if rise > 0 else 0.5
    return float(held[0] * (missed[0] / held[0]) ** np.clip(share, 0.2, 0.8))
