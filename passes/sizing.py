"""Looking for the file that comes closest to a size from below."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxsqueeze.passes.rate_distortion import Choice, Table, predicted, within

CLOSE = 0.991  # of the size: near enough, as fitting in order moves a little
AIMED = 0.997
FINDS, FILLS = 12, 24  # files tried with one multiplier for all weights, and with more for single ones
HALVES = 4  # of what is left over, for each of those
NARROW = 1e-3  # of the size: a bracket of predicted sizes in which files jump

Choices = list[Choice | None]


@dataclass(eq=False)
class Bracket:
    """Predicted sizes of which one fits and another does not, and what to try between them."""

    limit: int
    fits: float | None = None
    misses: float | None = None

    def after(self, wanted: float, expected: float, nbytes: int) -> float | None:
        """The next size to ask for, after one that was expected to make so many bytes and made others; None to end."""
        if nbytes <= self.limit:
            self.fits = wanted
        else:
            self.misses = wanted
        aimed = expected + AIMED * self.limit - nbytes
        aimed = aimed if aimed > 0 else expected / 2
        if self.fits is None or self.misses is None:
            return aimed
        low, high = sorted((self.fits, self.misses))
        if high - low < NARROW * self.limit:
            return None
        tenth = (high - low) / 10
        return aimed if low + tenth < aimed < high - tenth else (low + high) / 2


class Sizing:
    """Choices for all weights by the bytes of the file that they really make, which tables predict but roughly.

    Small files jump: a layout brings its decode function along.
    """

    def __init__(self, tables: Sequence[Table], limit: int, size: Callable[[Sequence[Choice | None]], int]) -> None:
        """``size``: bytes of the file of some choices."""
        self._tables, self._limit, self._size = tables, limit, size
        self.best: tuple[int, Choices] | None = None  # bytes, and what makes them
        self._missed: tuple[int, Choices] | None = None  # the smallest that does not fit
        self.smallest = sys.maxsize  # of all files tried

    def run(self) -> None:
        """Leaves in ``best`` the largest file that fits, within 1 % where there is one."""
        self._find()
        if self.best is not None:
            self._fill(self.best)
            self._fill(self._missed)
            self._fill(self.best)

    @property
    def closest(self) -> Choices:
        """The choices of ``best``; where nothing fits, of the smallest file."""
        found = self.best or self._missed
        assert found is not None
        return found[1]

    def _is_close(self) -> bool:
        return self.best is not None and self.best[0] >= CLOSE * self._limit

    def _try(self, choices: Choices) -> int:
        nbytes = self._size(choices)
        self.smallest = min(nbytes, self.smallest)
        if nbytes <= self._limit and (self.best is None or nbytes > self.best[0]):
            self.best = nbytes, choices
        if nbytes > self._limit and (self._missed is None or nbytes < self._missed[0]):
            self._missed = nbytes, choices
        return nbytes

    def _find(self) -> None:
        """The least loss at some predicted bytes, which what comes out corrects; then by halves between two tries."""
        least = sum(min(c.nbytes.min() for c in t.curves) for t in self._tables)
        bracket, wanted = Bracket(self._limit), float(self._limit)
        for _ in range(FINDS):
            choices = within(self._tables, wanted, 0)
            nbytes = self._try(choices)
            if self._is_close() or (nbytes > self._limit and wanted < least):
                return
            found = bracket.after(wanted, predicted(self._tables, choices)[0], nbytes)
            if found is None:
                return
            wanted = found

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
