"""Measured repair: bits go where the model's own loss says, weight by weight, from a point that a search has found.

Tables predict what a coarser grid costs from the outputs of one layer; here each weight is made coarser in its place
among the others, the model's loss tells what that really costs, and the tables are corrected by it. From there bits
are given back where loss is largest for their bytes, or taken where it is least (the loop of Yang et al. 2018,
NetAdapt, with bytes as the resource).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxsqueeze.passes.grids import told
from onnxsqueeze.passes.rate_distortion import Choice, Table, predicted, within
from onnxsqueeze.passes.search import largest

if TYPE_CHECKING:
    from onnxsqueeze.calibration.loss import Loss
    from onnxsqueeze.calibration.trial import Proof, Trial
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes.grids import Choices, Grids
    from onnxsqueeze.passes.search import Point
    from onnxsqueeze.pipeline.store import Store

ALONE, LEAST = 24, 0.03  # weights that are measured one by one, and the least share of the bytes that these have
PROBE = 0.5  # octaves that a grid is coarser for it, which cost as much loss again
TRUSTED = 2.0  # the most by which one measurement corrects a table against the others
LEVELS, REFITS, NARROW = 6, 2, 1.03  # measurements of all weights with corrected tables, and ratio at which they end
MOVES, FEWEST, WORK = 48, 4, 48_000_000  # measurements of single steps at most, at least, and times all weights
MOVE, SMALLEST = 1 / 4, 1 / 32  # octaves that a step is long at first, and in the end
CHECKS = 4  # on samples held out
STEPS = LEVELS + MOVES + CHECKS + 2
LOWEST = 0.75  # share of the limit below which less loss is worth nothing
FAINTEST = 1e-12


@dataclass(eq=False)
class _Step:
    """Weights that become coarser, or finer, together."""

    group: list[Table]
    octaves: float
    tried: int = 0

    def order(self, standing: Standing) -> tuple[int, float]:
        """What is tried next comes first."""
        saved, lost = _exchanged(self.group, standing.chosen, abs(self.octaves))
        return self.tried, lost / max(saved, FAINTEST)


@dataclass(frozen=True, eq=False)
class Standing:
    """Grids of all weights. ``fitted``: the grids to which they were fitted in order before these; None for not."""

    chosen: Choices
    fitted: Choices | None


class Repair:
    """Fewer bytes, or less loss where that is too much, from a point on."""

    def __init__(
        self,
        model: Model,
        grids: Grids,
        tables: Sequence[Table],
        limit: float,
        trial: Trial,
        counts: Sequence[int | None],
        store: Store,
        tell: Callable[[str], None],
    ) -> None:
        """``counts``: of the trial's samples those that steer, and all of them, with those that were fitted to."""
        self._model, self._grids, self._tables = model, grids, list(tables)
        self._limit, self._trial, self._counts, self._store, self._tell = limit, trial, counts, store, tell
        self._moves = max(FEWEST, min(MOVES, WORK // sum(t.size for t in tables)))
        self._known: dict[Standing, list[float]] = {}

    def run(self, point: Point, proof: Proof | None) -> None:
        """Leaves the model at the fewest bytes found that hold, on samples held out, too; else where the point is."""
        first = Standing(point.chosen, point.chosen if point.refit else None)
        tables, groups = self._corrected(first)
        again = self._level(tables, first)
        found = [*([] if again is None else [again]), *self._descend(groups, first if again is None else again)]
        fewer = sorted((s for s in found if self._bound(s) <= self._limit), key=lambda s: -self._nbytes(s.chosen))
        if self._losses(first)[1] <= self._limit:
            fewer = [s for s in fewer if self._nbytes(s.chosen) < self._nbytes(first.chosen)]
        self._settle(self._last([first, *fewer], proof))

    # What is measured

    def _bound(self, standing: Standing) -> float:
        """The worst loss on the samples, with what is in doubt."""
        return self._losses(standing)[0]

    def _losses(self, standing: Standing) -> list[float]:
        """The same, and with less doubt, as it is good enough for what was not chosen here."""

        def measure() -> list[float]:
            self._settle(standing)
            steering, *others = self._trial.losses(self._model, self._counts)
            doubted, plain = [_doubted(loss) for loss in others], [loss.value for loss in others]
            return [max(steering.bound, *doubted, 0.0), max(steering.bound, *plain, 0.0)]

        if standing not in self._known:
            self._known[standing] = self._store.recall("repair", self._key(standing), measure, list, _two)
            self._tell(f"{100 * self._known[standing][0]:.2f} %")
        return self._known[standing]

    def _shift(self, standing: Standing) -> float:
        """How far the outputs have moved."""

        def measure() -> float:
            self._settle(standing)
            return self._trial.loss(self._model, self._counts[0], scored=False).shift

        return self._store.recall("repair-shift", self._key(standing), measure, float, float)

    def _key(self, standing: Standing) -> dict[str, object]:
        judged = [self._trial.key, list(self._counts)]
        fitted = None if standing.fitted is None else told(standing.fitted)
        return {**self._grids.key, "fitted": fitted, "judged": judged, "choices": told(standing.chosen)}

    def _settle(self, standing: Standing) -> None:
        """Puts the weights there."""
        if standing.fitted is None:
            self._grids.apply(standing.chosen)
            return
        if self._grids.fitted != standing.fitted:
            self._grids.refit(standing.fitted)
        self._grids.adjust(standing.chosen)

    def _nbytes(self, chosen: Choices) -> float:
        return predicted(self._tables, [chosen[t.name] for t in self._tables])[0]

    # Tables

    def _corrected(self, standing: Standing) -> tuple[list[Table], list[list[Table]]]:
        """Tables with gains as measured, and the groups of them that are changed together."""
        chosen = standing.chosen
        groups = self._groups(chosen)
        before = self._shift(standing)
        ratios = []
        for group in groups:
            _, expected = _exchanged(group, chosen, PROBE)
            rise = self._shift(replace(standing, chosen=_changed(chosen, group, PROBE))) - before
            ratios.append(max(rise, FAINTEST) / max(expected, FAINTEST))
        factors = np.clip(np.array(ratios) / np.median(ratios or [1.0]), 1 / TRUSTED, TRUSTED)
        of = {t.name: float(f) for group, f in zip(groups, factors, strict=True) for t in group}
        made = {t.name: t.with_gains([c.gain * of.get(t.name, 1.0) for c in t.curves]) for t in self._tables}
        return list(made.values()), [[made[t.name] for t in group] for group in groups]

    def _groups(self, chosen: Choices) -> list[list[Table]]:
        """Weights of many bytes one by one, and all others together."""
        order = sorted(
            (t for t in self._tables if chosen[t.name] and not t.is_fixed), key=lambda t: -t.cost(chosen[t.name])[0]
        )
        least = LEAST * self._nbytes(chosen)
        alone = [t for t in order[: min(ALONE, 3 * self._moves)] if t.cost(chosen[t.name])[0] >= least]
        return [*([t] for t in alone), *([order[len(alone) :]] if order[len(alone) :] else [])]

    def _level(self, tables: Sequence[Table], first: Standing) -> Standing | None:
        """The corrected tables' choice of the fewest bytes that holds; None where that is no better than the point."""
        best: Standing | None = None
        least = self._nbytes(first.chosen) if self._losses(first)[1] <= self._limit else float("inf")

        def value(loss: float) -> float:
            nonlocal best, least
            choices = {t.name: c for t, c in zip(tables, within(tables, loss, 1), strict=True)}
            standing = Standing(choices, None if first.fitted is None else choices)
            bound = self._bound(standing)
            if bound <= self._limit and self._nbytes(choices) < least:
                best, least = standing, self._nbytes(choices)
            return bound

        start = predicted(tables, [first.chosen[t.name] for t in tables])[1]
        largest(value, self._limit, start, min(LEVELS, self._moves // 2) if first.fitted is None else REFITS, NARROW)
        return best

    # Single weights, one after the other

    def _descend(self, groups: Sequence[list[Table]], standing: Standing) -> list[Standing]:
        """All places met on a way of single steps, by one weight each, that lower bytes for what they do to the loss.

        At first those become coarser that are predicted to lose least for a byte. A step that does not pay is tried
        the other way, then half as long.
        """
        met: list[Standing] = []
        steps = [_Step(group, MOVE) for group in groups]
        for _ in range(self._moves):
            step = min((s for s in steps if abs(s.octaves) >= SMALLEST), key=lambda s: s.order(standing), default=None)
            if step is None:
                break
            step.tried += 1
            after = replace(standing, chosen=_changed(standing.chosen, step.group, step.octaves))
            if after.chosen != standing.chosen and self._pays(standing, after):
                standing = after
                met.append(after)
            else:
                step.octaves *= -1 if step.octaves > 0 else -0.5
        return met

    def _pays(self, before: Standing, after: Standing) -> bool:
        """Whether a step gets closer to few bytes at the limit: by bytes, and what its loss is worth elsewhere."""
        if self._bound(after) > max(self._limit, self._bound(before)):
            return False
        losses = [max(self._bound(s), LOWEST * self._limit) for s in (before, after)]
        nbytes = [self._nbytes(s.chosen) for s in (before, after)]
        return nbytes[1] - nbytes[0] + self._worth(before.chosen) * float(np.log2(losses[1] / losses[0])) < 0

    def _worth(self, chosen: Choices) -> float:
        """Bytes that twice the loss saves, by the tables."""
        nbytes, loss = predicted(self._tables, [chosen[t.name] for t in self._tables])
        return max(0.0, nbytes - predicted(self._tables, within(self._tables, 2 * loss, 1))[0])

    def _last(self, found: Sequence[Standing], proof: Proof | None) -> Standing:
        """The last whose loss holds on samples held out, looked for by halves; the first is known to hold."""
        low = place = high = len(found) - 1
        if proof is not None and high:
            low = 0
            for _ in range(CHECKS):
                if low == high:
                    break
                self._settle(found[place])
                value = proof.loss(self._model)
                self._tell(f"{100 * value:.2f} % unseen")
                low, high = (place, high) if value <= self._limit else (low, place - 1)
                place = (low + high + 1) // 2
        return found[low]


def _doubted(loss: Loss) -> float:
    """With a standard error where decisions count, few of which change."""
    return max((o.value + (o.doubt if o.kind == "decisions" else 0.0) for o in loss.outputs), default=0.0)


def _two(kept: Any) -> list[float]:
    first, second = kept
    return [float(first), float(second)]


def _changed(chosen: Choices, group: Sequence[Table], octaves: float) -> dict[str, Choice | None]:
    """The choices with the grids of a group this much coarser, as far as its tables go."""
    changed = dict(chosen)
    for table in group:
        choice = chosen[table.name]
        if choice is not None:
            curve = next(c for c in table.curves if c.scaled == choice.scaled)
            fineness = float(np.clip(choice.fineness * 2**octaves, curve.finenesses[0], curve.finenesses[-1]))
            changed[table.name] = replace(choice, fineness=fineness)
    return changed


def _exchanged(group: Sequence[Table], chosen: Choices, octaves: float) -> tuple[float, float]:
    """Bytes that such a step saves, and the loss that it is predicted to cost."""
    after = _changed(chosen, group, octaves)
    pairs = [(t.cost(chosen[t.name]), t.cost(after[t.name])) for t in group]
    return sum(a[0] - b[0] for a, b in pairs), sum(b[1] - a[1] for a, b in pairs)
