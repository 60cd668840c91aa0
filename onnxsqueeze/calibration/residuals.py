"""What a changed model has lost by the time it reaches a weight, and how much of it shows in the weight's inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.matrices import Reading, readings
from onnxsqueeze.calibration.moments import TOGETHER, Gathering, Moments, rows_of
from onnxsqueeze.calibration.segments import Runner
from onnxsqueeze.calibration.stages import Stage, stages

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
Feeds = Sequence[Mapping[str, Any]]

ROWS, ROWS_LEAST, ROWS_MOST = 8192, 64, 2048  # over all samples, and of one


@dataclass(frozen=True, eq=False)
class Residual:
    """Of the inputs x of one weight W in the original model and x̃ in the changed one, at the same places."""

    name: str
    products: Array  # float32 [groups, outputs, inputs]: E[W (x - x̃) x̃ᵀ]
    moments: Moments  # of x̃
    original_means: Array  # float32 [groups or 1, inputs]: E[x]


def residuals(
    model: Model, original: Model, weights: Mapping[str, Array], feeds: Feeds, jobs: int = 1
) -> Iterator[list[Residual]]:
    """The residuals of weights (their original values are given) in the order in which they are used.

    Each list holds weights whose inputs do not depend on one another; the next is measured only when it is asked for,
    on ``model`` as it is then. ``original`` has the same graph. Weights that no sample reaches, or whose rows are
    picked by index, are left out. Raises ModelError where a sample does not run.
    """
    found = {name: listed for name, listed in readings(model, set(weights)).items() if listed[0].kind != "rows"}
    most = max(ROWS_LEAST, min(ROWS_MOST, -(-ROWS // max(1, len(feeds)))))
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder, ThreadPoolExecutor(jobs) as pool:
        runners = []
        for kind, each in (("changed", model), ("original", original)):
            (Path(folder) / kind).mkdir()
            runners.append(Runner(each, feeds, Path(folder) / kind))
        for stage in stages(model, found):
            sums = {
                name: _Sums(found[name][0].matrix(weights[name].astype(np.float32)), Gathering(found[name][0], most))
                for name in stage.names
            }
            _measure(runners, stage, [(sums[name], r) for name in stage.names for r in found[name]], pool, jobs)
            yield [done for name in stage.names if (done := sums[name].done(name)) is not None]


@dataclass(eq=False)
class _Sums:
    weight: Array  # [groups, outputs, inputs]
    changed: Gathering
    rows: int = 0
    _originals: Array = field(default_factory=lambda: np.zeros((1, 1)))
    _lost: Array | None = None  # of the sums of (x - x̃) x̃ᵀ, or of W times that, whichever is fewer multiplications
    _waiting: list[tuple[Array, Array]] = field(default_factory=list)

    @property
    def _weighs_last(self) -> bool:
        _, outputs, inputs = self.weight.shape
        return bool(inputs * (ROWS + outputs) < 2 * ROWS * outputs)

    def add(self, reading: Reading, changed: Array | None, original: Array | None) -> None:
        """Takes in the inputs of one sample; those that do not fit count nothing."""
        if changed is None or original is None or not changed.size or changed.shape != original.shape:
            return
        now, first = (rows_of(value, reading, self.changed.most) for value in (changed, original))
        if now is None or first is None or not (np.isfinite(now).all() and np.isfinite(first).all()):
            return
        if now.shape[2] != self.weight.shape[2] or len(now) not in (1, len(self.weight)):
            return
        if self.rows and len(now) != len(self._originals):
            return
        self._originals = self._originals + first.sum(axis=1, dtype=np.float64)
        self.changed.add_rows(now)
        self.rows += now.shape[1]
        self._waiting.append((now, first - now))
        if sum(rows.shape[1] for rows, _ in self._waiting) >= TOGETHER:
            self._multiply()

    def _multiply(self) -> None:
        if not self._waiting:
            return
        now, lost = (np.concatenate(rows, axis=1) for rows in zip(*self._waiting, strict=True))
        self._waiting.clear()
        if not self._weighs_last:
            lost = np.matmul(lost, self.weight.transpose(0, 2, 1))  # [groups, rows, outputs]
        products = np.matmul(lost.transpose(0, 2, 1), now)
        self._lost = products if self._lost is None else np.add(self._lost, products, out=self._lost)

    def done(self, name: str) -> Residual | None:
        moments = self.changed.done()
        if moments is None:
            return None
        self._multiply()
        assert self._lost is not None
        products = np.matmul(self.weight, self._lost) if self._weighs_last else self._lost
        originals = (self._originals / self.rows).astype(np.float32)
        return Residual(name, products / np.float32(self.rows), moments, originals)


def _measure(
    runners: Sequence[Runner], stage: Stage, plan: Sequence[tuple[_Sums, Reading]], pool: ThreadPoolExecutor, jobs: int
) -> None:
    for runner in runners:
        runner.seek(stage, [reading for _, reading in plan])
    count = runners[0].count
    for start in range(0, count, jobs):  # few at a time: their values are in memory together
        numbers = range(start, min(start + jobs, count))
        for values in pool.map(lambda number: [runner.run(number) for runner in runners], numbers):
            for (sums, reading), changed, original in zip(plan, *values, strict=True):
                sums.add(reading, changed, original)
    for runner in runners:
        runner.advance(stage)
