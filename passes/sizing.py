"""Looking for the file that comes closest to a size from below."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onnxsqueeze.passes.rate_distortion import Choice, Table, predicted, within

CLOSE = 0.991  # of the size: near enough, as fitting in order moves a little
AIMED = 0.997
FINDS, FILLS = 12, 24  # files tried with one multiplier for all weights, and with more for single ones
HALVES = 4  # of what is left over, for each of those
NARROW = 1e-3  # of the size: a bracket of predicted sizes in which files jump

Choices = list[Choice | None]


class Sizing:
    """Choices for all weights by the bytes of the file that they really make, which tables predict but roughly.

    Small files jump: a layout brings its decode function along.
    """

    def __init__(self, tables: Sequence[Table], limit: int, size: Callable[[Sequence[Choice | None]], int]) -> None:
        """``size``: bytes of the file of some choices."""
        self._tables, self._limit, self._size = tables, limit, size
        self.best: tuple[int, Choices] | None = None  # bytes, and what makes them
        self._missed: tuple[int, Choices] | None = None  # the smallest that does not fit
        self.smallest: int | None = None  # of all files tried

    def run(self) -> None:
        """Leaves in ``best`` the largest file that fits, within 1 % where there is one."""
        self._find()
        if self.best is not None:
            self._fill(self.best)
            self._fill(self._missed)
            self._fill(self.best)

    def _is_close(self) -> bool:
        return self.best is not None and self.best[0] >= CLOSE * self._limit

    def _try(self, choices: Choices) -> int:
        nbytes = self._size(choices)
        self.smallest = nbytes if self.smallest is None else min(nbytes, self.smallest)
        if nbytes <= self._limit and (self.best is None or nbytes > self.best[0]):
            self.best = nbytes, choices
        if nbytes > self._limit and (self._missed is None or nbytes < self._missed[0]):
            self._missed = nbytes, choices
        return nbytes

    def _find(self) -> None:
        """The least loss at some predicted bytes, which what comes out corrects; then by halves between two tries."""
        least = sum(min(c.nbytes.min() for c in t.curves) for t in self._tables)
        wanted, fits, misses = float(self._limit), None, None
        for _ in range(FINDS):
            choices = within(self._tables, wanted, 0)
            nbytes = self._try(choices)
            if nbytes <= self._limit:
                fits = wanted
            else:
                misses = wanted
            if self._is_close() or (misses == wanted and wanted < least):
                return
            expected = predicted(self._tables, choices)[0]
            aimed = expected + AIMED * self._limit - nbytes
            wanted = aimed if aimed > 0 else expected / 2
            if fits is not None and misses is not None:
                if abs(misses - fits) < NARROW * self._limit:
                    return
                low, high = sorted((fits, misses))
                tenth = (high - low) / 10
                wanted = wanted if low + tenth < wanted < high - tenth else (low + high) / 2

    def _fill(self, base: tuple[int, Choices] | None) -> None:
        """Gives single weights, from the largest on, what is left over, or takes from them what is too much."""
        if base is None or self._is_close():
            return
        nbytes, choices = base
        tries, left = FILLS // 3, self._limit - nbytes
        costs = [table.cost(choice)[0] for table, choice in zip(self._tables, choices, strict=True)]
        for place in np.argsort(costs)[::-1]:
            low, high = (0.0, float(left)) if left > 0 else (2.0 * left, 0.0)
            extra = float(left)
            for _ in range(HALVES):
                changed = self._changed(choices, int(place), costs[place] + extra)
                if changed is None or tries == 0:
                    break
                tries -= 1
                low, high = (extra, high) if self._try(changed) <= self._limit else (low, extra)
                if self._is_close() or low == high:
                    break
                extra = (low + high) / 2
            if self._is_close():
                return

    def _changed(self, choices: Choices, place: int, nbytes: float) -> Choices | None:
        """The choices with one weight at so many predicted bytes, on the same kind of grid; None where that is none."""
        table, choice = self._tables[place], choices[place]
        if choice is None:
            return None
        finenesses, costs, _ = next(c for c in table.curves if c.scaled == choice.scaled).tried()
        fitting = finenesses[costs <= nbytes]
        if not len(fitting) or fitting.min() == choice.fineness:
            return None
        return [*choices[:place], Choice(float(fitting.min()), choice.scaled), *choices[place + 1 :]]
