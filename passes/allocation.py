"""Meeting a budget: tables of every weight, how far outputs follow each, and a choice that is measured end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.loss import OutputLoss
from onnxsqueeze.calibration.samples import drawn
from onnxsqueeze.calibration.trial import Proof, Trial
from onnxsqueeze.errors import PassError
from onnxsqueeze.passes.evidence import constant, different, indivisible, lacking, silent
from onnxsqueeze.passes.grids import Grids, told
from onnxsqueeze.passes.rate_distortion import Choice, Table, predicted, within
from onnxsqueeze.passes.repair import STEPS, Repair
from onnxsqueeze.passes.search import EVALUATIONS, REFITS, Search
from onnxsqueeze.passes.sizing import CLOSE, FILLS, FINDS, Bracket, Sizing
from onnxsqueeze.passes.stored import stored_nbytes

if TYPE_CHECKING:
    from onnxsqueeze.calibration.loss import Loss
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.passes.resource import Prediction
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

RUNS, FEWEST, MOST = 1024, 4, 16  # samples that all trials of single weights run together, and that each one runs
PROBE = 0.005  # relative error at which a single weight is tried
SIZED = 8  # times, at most, that weights are fitted for a file of a size
FAINT = 1e-3  # share of the outputs that the whole weight moves, where labels do not tell of small moves
CAREFUL = 1e-3  # relative error that a weight may have of which samples tell nothing
JUDGING = 3  # one of so many samples tells what fitting to the others did


@dataclass(frozen=True)
class Budget:
    """What is asked for: at most this loss, or at most so many bytes of file."""

    loss: float | None
    size: int | None
    score: str = ""


@dataclass(frozen=True)
class Chosen:
    """What became of one weight. ``bits``: of a weight as stored; ``loss``: its part of the predicted one."""

    weight: str
    step: float | None  # of the grid, over the root mean square of the values; None where it stays as it is
    scaled: bool
    bits: float
    loss: float


@dataclass(frozen=True)
class Account:
    """What was measured, and on how many samples: those that were fitted to, that steered, and that were held out."""

    fitted: int
    steering: int
    held_out: int
    steering_loss: tuple[OutputLoss, ...]
    held_out_loss: tuple[OutputLoss, ...]
    chosen: tuple[Chosen, ...]
    prediction: Prediction | None = None  # of the cost model, where that was the budget
    apart: bool = True  # whether other samples steered than were fitted to


class Allocation:
    """One run over a model, which is changed in place."""

    def __init__(self, model: Model, weights: Sequence[Weight], budget: Budget, context: Context) -> None:
        self._model, self._weights, self._budget, self._context = model, list(weights), budget, context
        self._feeds, self._judging = parted(list(context.calibration or ()))

    def run(self) -> int:
        """Meets the budget; returns the number of weights changed."""
        jobs, score, held_out = self._context.jobs, self._budget.score, unseen(self._context)
        store = self._context.store
        trial = Trial(self._model, self._judging, jobs, score, store) if self._judging else None
        held = Trial(self._model, held_out, jobs, store=store) if held_out else None
        whole = Trial(self._model, [*self._judging, *self._feeds], jobs, store=store) if trial and not score else None
        proof = None
        if held and not score:
            proof = Proof(Trial(self._model, [*held_out, *self._judging], jobs, store=store), len(held_out))
        if self._budget.loss is not None and not score and trial and (why := self._untold(trial)):
            self._context.notes(f"allocate: nothing is changed: {why}")
            return 0
        with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
            self._grids = Grids(self._model, self._weights, self._feeds, self._context, Path(folder))
            tables = self._grids.tables()
            if not tables:
                return 0
            tables = self._with_gains(tables, trial)
            if self._budget.size is not None:
                self._meet_size(tables, self._budget.size, trial)
            else:
                self._meet_loss(tables, self._budget.loss or 0.0, trial, proof, whole)
            self._tell(tables, trial, held)
        if trial is not None and trial.calls:
            self._context.notes(f"allocate: the scoring function ran {trial.told}")
        return sum(choice is not None for choice in self._grids.now.values())

    def _samples(self) -> list[Any]:
        return [*self._feeds, *self._judging, *self._context.held_out]

    def _untold(self, trial: Trial) -> str:
        """Why samples tell no loss, in words; empty where they do.

        Where all that is seen is one row of outputs, biases alone would give it, whatever the weights are.
        """
        if not trial.judged:
            return "no output is made of numbers; give a scoring function"
        alone = different(self._samples()) == 1 and trial.rows <= len(self._judging)
        return lacking(self._samples()) if alone else ""

    # How far outputs follow

    def _with_gains(self, tables: list[Table], trial: Trial | None) -> list[Table]:
        """Loss for each unit of error: measured with one weight changed at a time, or the inverse of the energy."""
        if trial is None:
            return [t.with_own_gain() for t in tables]
        count = max(FEWEST, min(MOST, RUNS // sum(len(t.curves) for t in tables)))
        self._context.progress.start("sensitivity", len(tables))
        measured, unreached = [], []
        for table in tables:
            key = {**self._grids.key, "judged": trial.key, "count": count, "weight": table.name}
            gains = self._context.store.recall("gains", key, partial(self._gains, table, trial, count), list, _floats)
            measured.append(table.with_gains(gains) if any(gains) else self._careful(table))
            if not any(gains):
                unreached.append(table.name)
            self._context.progress.advance(table.name)
        self._context.progress.finish()
        if unreached:
            kept = "so that their own error is kept small; give samples that reach them"
            self._context.notes(f"allocate: {silent(unreached)}, {kept}")
        return measured

    def _careful(self, table: Table) -> Table:
        """Of a weight that changes no output on these samples: its own error stands for the loss.

        A limit of the loss is not for such weights: however coarse they were, nothing would be measured.
        """
        plain = self._grids.forget(table.name) or table
        if self._budget.size is not None:
            return plain.with_own_gain()
        return plain.fixed(CAREFUL * plain.energy)

    def _gains(self, table: Table, trial: Trial, count: int) -> list[float]:
        """All 0 where the weight changes no output, however coarse it is."""
        gains = []
        for curve in table.curves:
            place = int(np.abs(np.log(np.maximum(curve.errors, 1e-30) / max(table.energy, 1e-30) / PROBE)).argmin())
            error = self._grids.apply({table.name: Choice(float(curve.finenesses[place]), curve.scaled)})[table.name]
            shift = trial.loss(self._model, count, scored=False).shift
            gains.append(shift / max(error, 1e-30))
        is_silent = not any(gains) and bool(trial.judged)
        if is_silent:
            self._grids.apply({table.name: Choice(float(curve.finenesses[-1]), curve.scaled)})
            is_silent = trial.loss(self._model, scored=False).shift == 0
        self._grids.apply({table.name: None})
        return gains if is_silent else [max(gain, FAINT / max(table.energy, 1e-30)) for gain in gains]

    # Budgets

    def _meet_loss(
        self, tables: list[Table], limit: float, trial: Trial | None, proof: Proof | None, whole: Trial | None
    ) -> None:
        if trial is None:
            self._choose(tables, within(tables, limit, 1))
            return
        progress = self._context.progress

        def tell(text: str) -> None:
            progress.advance(f"{text}; scored {trial.told}" if trial.calls else text)

        progress.start("meet the loss, at most", EVALUATIONS + REFITS)
        search = Search(self._model, self._grids, tables, limit, trial, self._context.store, tell)
        if search.run(proof, bool(self._feeds)) and search.best:
            progress.finish()
            progress.start("measure and repair, at most", STEPS)
            counts = [None] if whole is None else [len(self._judging), None]
            repair = Repair(self._model, self._grids, tables, limit, whole or trial, counts, self._context.store, tell)
            repair.run(search.best, proof)
        else:
            self._choose(tables, [None] * len(tables))
        if not any(self._grids.now.values()):
            self._context.notes(f"allocate: no grid of any weight holds the loss within {100 * limit:g} %")
        progress.finish()

    def _choose(self, tables: list[Table], choices: Sequence[Choice | None]) -> None:
        self._grids.apply({t.name: c for t, c in zip(tables, choices, strict=True)})

    def _meet_size(self, tables: list[Table], limit: int, trial: Trial | None) -> None:
        """The least loss at no more than ``limit`` bytes of file."""
        self._context.progress.start("meet the size, at most", FINDS + FILLS)

        def size(choices: Sequence[Choice | None]) -> int:
            chosen = told({t.name: c for t, c in zip(tables, choices, strict=True)})
            key = {**self._grids.key, "choices": chosen}
            nbytes = self._context.store.recall("size", key, partial(self._size, tables, choices), int, int)
            self._context.progress.advance(f"{nbytes:,} bytes")
            return nbytes

        sizing = Sizing(tables, limit, size)
        sizing.run()
        self._context.progress.finish()
        self._choose(tables, sizing.closest)
        smallest = self._refit(tables, sizing, limit, trial) if trial is not None else sizing.smallest
        nbytes = stored_nbytes(self._model, self._context)
        if nbytes > limit:
            raise PassError(f"the file cannot be as small as {limit:,} bytes; the smallest reachable is {smallest:,}")
        if nbytes < 0.99 * limit:
            under = f"{100 * (1 - nbytes / limit):.1f} % less than asked for"
            self._context.notes(f"allocate: the file takes {under}: nothing closer was found")

    def _refit(self, tables: list[Table], sizing: Sizing, limit: int, trial: Trial) -> int:
        """Fits weights in the order of their use where that loses less; returns the smallest file seen.

        What is fitted takes other bytes than what is not: finer or coarser grids make up for it.
        """
        choices, smallest, bracket = sizing.closest, sizing.smallest, Bracket(limit)
        wanted = predicted(tables, choices)[0]
        state, least = self._grids.state(), trial.loss(self._model) if sizing.best else None
        for _ in range(SIZED):
            self._grids.refit({t.name: c for t, c in zip(tables, choices, strict=True)})
            nbytes, loss = stored_nbytes(self._model, self._context), trial.loss(self._model)
            smallest = min(smallest, nbytes)
            if nbytes <= limit and (least is None or not _worse(loss, least)):
                state, least = self._grids.state(), loss
            if CLOSE * limit <= nbytes <= limit:
                break
            found = bracket.after(wanted, predicted(tables, choices)[0], nbytes)
            if found is None or (again := within(tables, found, 0)) == choices:
                break
            wanted, choices = found, again
        self._grids.put(state)
        return smallest

    def _size(self, tables: list[Table], choices: Sequence[Choice | None]) -> int:
        self._choose(tables, choices)
        return stored_nbytes(self._model, self._context)

    def _tell(self, tables: list[Table], trial: Trial | None, held: Trial | None) -> None:
        def loss(judge: Trial | None) -> tuple[OutputLoss, ...]:
            return judge.loss(self._model).outputs if judge else ()

        chosen = []
        for table in tables:
            choice = self._grids.now[table.name]
            nbytes, lost = table.cost(choice)
            step = None if choice is None else choice.fineness
            chosen.append(Chosen(table.name, step, bool(choice and choice.scaled), 8 * nbytes / table.size, lost))
        counts = len(self._feeds), len(self._judging), len(unseen(self._context))
        apart = self._judging is not self._feeds
        account = Account(*counts, loss(trial), loss(held), tuple(chosen), apart=apart)
        self._context.accounts(account)
        for name in constant(self._samples()) if self._feeds else ():
            told = "what acts on nothing else is not judged; of a state, give samples from the midst of use"
            self._context.notes(f"allocate: '{name}' is zero in all samples: {told}")
        if self._feeds and (found := lacking(self._samples())):
            self._context.notes(f"allocate: {found}")
        elif self._budget.loss is not None and not self._budget.score:
            for note in indivisible(account.steering_loss, len(self._judging), self._budget.loss):
                self._context.notes(f"allocate: {note}")


def _floats(kept: Any) -> list[float]:
    return [float(value) for value in kept]


def parted(feeds: list[Any]) -> tuple[list[Any], list[Any]]:
    """Samples that weights are fitted to, and others that tell what it did; of fewer than three all serve both."""
    if len(feeds) < JUDGING:
        return feeds, feeds
    judging = drawn(len(feeds), JUDGING)
    return [f for i, f in enumerate(feeds) if i not in judging], [feeds[i] for i in judging]


def unseen(context: Context) -> Sequence[Any]:
    """Samples held out; none where the only one is what passes look at, too."""
    seen = {id(feed) for feed in context.calibration or ()}
    return [feed for feed in context.held_out if id(feed) not in seen]


def _worse(one: Loss, other: Loss) -> bool:
    """By the measure asked for; where that tells no difference, by how far outputs have moved."""
    return (one.value, one.shift) > (other.value, other.shift)
