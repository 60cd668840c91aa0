"""What each weight could be stored in, and what that does: tables of bytes and error, and the choice among them.

Errors of different weights add up to second order, each times how far the model's outputs follow it; under that model
the least bytes for a given loss are those that minimise bytes + multiplier · loss, weight by weight (Everett 1963;
Shoham and Gersho 1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Note, best_plan
from onnxsqueeze.passes.quantizer import Quantizer

if TYPE_CHECKING:
    from onnxsqueeze.encode import Scale

Array = npt.NDArray[Any]

OCTAVES = (-5, 2.5)  # log2 of the grid's step over the values' root mean square
MEASURED, TRIED = 2, 64  # steps an octave that are measured, and that may be chosen: between them, interpolation
LARGE = 1 << 18  # weights, from which on every second step is enough: curves of many weights are smooth
FAINTEST = 1e-30


@dataclass(frozen=True)
class Choice:
    """A grid for one weight; None in its place leaves the weight as it is."""

    fineness: float  # step over root mean square
    scaled: bool  # by channel


@dataclass(frozen=True, eq=False)
class Curve:
    """Bytes and error of one weight over its finenesses, with scales of channels or without."""

    scaled: bool
    finenesses: Array  # [points], rising
    nbytes: Array  # [points]
    errors: Array  # [points]: E ‖ΔW x‖²
    gain: float = 1.0  # what the outputs lose for each unit of error

    def at(self, fineness: float) -> tuple[float, float]:
        """Bytes and loss at one fineness."""
        place = np.log2(fineness)
        logs = np.log2(self.finenesses)
        nbytes, error = (np.interp(place, logs, np.log2(np.maximum(v, FAINTEST))) for v in (self.nbytes, self.errors))
        return float(2**nbytes), float(self.gain * 2**error)

    def tried(self) -> tuple[Array, Array, Array]:
        """Finenesses, bytes and losses that may be chosen."""
        logs = np.log2(self.finenesses)
        places = np.arange(round(logs[0] * TRIED), round(logs[-1] * TRIED) + 1) / TRIED
        nbytes, errors = (np.interp(places, logs, np.log2(np.maximum(v, FAINTEST))) for v in (self.nbytes, self.errors))
        return np.exp2(places), np.exp2(nbytes), self.gain * np.exp2(errors)


@dataclass(frozen=True, eq=False)
class Table:
    """What one weight may become."""

    name: str
    size: int
    dense_nbytes: int
    energy: float  # E ‖W x‖²
    curves: tuple[Curve, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose but to stay dense."""
        return all(len(curve.finenesses) == 1 for curve in self.curves)

    def choose(self, multiplier: float) -> Choice | None:
        """What minimises bytes + multiplier · loss."""
        best, least = None, float(self.dense_nbytes)
        for curve in self.curves:
            finenesses, nbytes, losses = curve.tried()
            costs = nbytes + multiplier * losses
            place = int(costs.argmin())
            if costs[place] < least:
                best, least = Choice(float(finenesses[place]), curve.scaled), float(costs[place])
        return best

    def cost(self, choice: Choice | None) -> tuple[float, float]:
        """Bytes and loss of a choice."""
        if choice is None:
            return float(self.dense_nbytes), 0.0
        return next(c for c in self.curves if c.scaled == choice.scaled).at(choice.fineness)

    def fixed(self, error: float) -> Table:
        """The same where nothing but the fewest bytes with at most this error may be chosen, at no loss.

        Where no grid is that fine, the finest.
        """
        found = []
        for curve in self.curves:
            place = max(0, int(np.searchsorted(curve.errors, error, side="right")) - 1)
            one = slice(place, place + 1)
            found.append(
                replace(
                    curve,
                    finenesses=curve.finenesses[one],
                    nbytes=curve.nbytes[one],
                    errors=curve.errors[one],
                    gain=0.0,
                )
            )
        return replace(self, curves=tuple(found))

    def with_own_gain(self) -> Table:
        """The same where the weight's own relative error stands for the loss."""
        return self.with_gains([1 / max(self.energy, FAINTEST)] * len(self.curves))

    def with_gains(self, gains: Sequence[float]) -> Table:
        """The same with other gains, one a curve."""
        curves = tuple(replace(c, gain=g) for c, g in zip(self.curves, gains, strict=True))
        return replace(self, curves=curves)


def packed(table: Table | None) -> Any:
    """A table without gains as JSON values."""
    if table is None:
        return None
    curves = [[c.scaled, *(v.tolist() for v in (c.finenesses, c.nbytes, c.errors))] for c in table.curves]
    return [table.name, table.size, table.dense_nbytes, table.energy, curves]


def unpacked(kept: Any) -> Table | None:
    """The table again; raises ValueError or TypeError for what is none."""
    if kept is None:
        return None
    name, size, dense_nbytes, energy, curves = kept
    made = tuple(Curve(bool(scaled), np.array(f), np.array(n), np.array(e)) for scaled, f, n, e in curves)
    return Table(name, size, dense_nbytes, energy, made)


def measure(name: str, quantizer: Quantizer) -> Table | None:
    """The table of one weight, without gains; None where nothing is smaller than its dense values."""
    low, high = OCTAVES
    places = np.arange(round(low * MEASURED), round(high * MEASURED) + 1)
    finenesses = np.exp2((places if quantizer.values.size < LARGE else places[places % MEASURED == 0]) / MEASURED)
    curves = [curve for scale in quantizer.scales if (curve := _curve(quantizer, scale, finenesses)) is not None]
    values = quantizer.values
    return Table(name, values.size, values.nbytes, quantizer.energy, tuple(curves)) if curves else None


def _curve(quantizer: Quantizer, scale: Scale | None, finenesses: Array) -> Curve | None:
    rows = []
    for fineness in finenesses:
        found = quantizer.at(float(fineness), scale)
        if found is None:
            continue
        plan = best_plan(found.values, Note(found.sharing, None, True))
        if plan is not None:
            rows.append((float(fineness), float(plan.nbytes), found.error))
    if len(rows) < 2:
        return None
    kept, nbytes, errors = np.array(rows).T
    return Curve(scale is not None, kept, nbytes, np.maximum.accumulate(errors))


def predicted(tables: Sequence[Table], choices: Sequence[Choice | None]) -> tuple[float, float]:
    """Bytes and loss of all weights together."""
    costs = [table.cost(choice) for table, choice in zip(tables, choices, strict=True)]
    return sum(c[0] for c in costs), sum(c[1] for c in costs)


def within(tables: Sequence[Table], limit: float, by: int) -> list[Choice | None]:
    """The fewest bytes with at most ``limit`` of loss (``by`` 1), or the least loss with at most so many bytes (0).

    Bisection on the multiplier. Where the bytes cannot be met, the coarsest choice.
    """
    low, high = -60.0, 90.0  # log2 of the multiplier; the higher, the less loss and the more bytes
    for _ in range(48):
        middle = (low + high) / 2
        found = predicted(tables, [t.choose(2**middle) for t in tables])[by]
        if (found <= limit) == (by == 1):
            high = middle
        else:
            low = middle
    multiplier = 2 ** (high if by == 1 else low)
    return _filled(tables, [t.choose(multiplier) for t in tables], limit, by)


def _filled(tables: Sequence[Table], choices: list[Choice | None], limit: float, by: int) -> list[Choice | None]:
    """Spends what is left of the limit: one multiplier for all only reaches some totals (the convex hull).

    Where bytes are left, weights that lose most stay as they are, if that fits.
    """
    filled, left = list(choices), limit - predicted(tables, choices)[by]
    for place in sorted(range(len(tables)), key=lambda i: -tables[i].cost(choices[i])[1 - by]):
        spent, kept = (tables[place].cost(filled[place])[i] for i in (by, 1 - by))
        if by == 0 and kept > 0 and tables[place].dense_nbytes <= spent + left:
            left -= tables[place].dense_nbytes - spent
            filled[place] = None
            continue
        for curve in tables[place].curves:
            finenesses, *costs = curve.tried()
            fitting = costs[by] <= spent + left
            best = int(np.where(fitting, costs[1 - by], np.inf).argmin())
            if fitting[best] and costs[1 - by][best] < kept:
                left -= float(costs[by][best]) - spent
                spent, kept = float(costs[by][best]), float(costs[1 - by][best])
                filled[place] = Choice(float(finenesses[best]), curve.scaled)
    return filled
