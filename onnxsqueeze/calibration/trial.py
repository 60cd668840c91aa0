"""How much a model has lost: variants of it run on samples and compared with the original."""

from __future__ import annotations

import inspect
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.loss import Loss, OutputLoss, Reference
from onnxsqueeze.calibration.outputs import class_axes
from onnxsqueeze.calibration.samples import function, raised
from onnxsqueeze.calibration.session import open_session, run
from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.store import Store, digest_of_feeds, digest_of_files

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
Feed = Mapping[str, Any]


class Trial:
    """A model as it was, and samples: tells how far variants of it have moved on some of them.

    ``key``: what its losses depend on beside the variant; empty without a store. ``calls``, ``seconds``: of the scoring
    function.
    """

    def __init__(
        self, model: Model, feeds: Sequence[Feed], threads: int, score: str = "", store: Store | None = None
    ) -> None:
        """The model as it is now. ``score``: ``module:function`` that takes a path and gives a number above 0.

        ``store``: keeps losses for later runs, under the contents of both models, the samples and the function's file.
        """
        self._feeds, self._threads, self._store = list(feeds), threads, store or Store()
        self._names = [value.name for value in model.proto.graph.output]
        self._axes = class_axes(model)
        self._score = function(score, "score") if score else None
        self._references: dict[int, Reference] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="onnxsqueeze-")
        self._path = Path(self._folder.name) / "original.onnx"
        self.key: dict[str, Any] = {}
        self.calls, self.seconds = 0, 0.0
        model.save(self._path, durable=False)
        if self._store:
            self.key = {
                "original": digest_of_files(_files(self._path)),
                "samples": digest_of_feeds(self._feeds),
                "score": [score, self.source],
                "decisions": self._axes,
            }
        self._runs: list[list[Array]] | None = None  # of the original, once they are needed
        self.original_score = self._kept_score() if self._score else None

    @property
    def source(self) -> str:
        """A hash of the file that the scoring function stands in; what it reads beside that is not known."""
        try:
            return digest_of_files([Path(inspect.getfile(inspect.unwrap(self._score)))]) if self._score else ""
        except (TypeError, OSError):
            return ""

    @property
    def told(self) -> str:
        """How often the scoring function ran, and for how long."""
        times = "once" if self.calls == 1 else f"{self.calls:,} times"
        return f"{times}, {self.seconds:.1f} s"

    def loss(self, model: Model, count: int | None = None, scored: bool = True) -> Loss:
        """Of a variant, on the first ``count`` samples; with a scoring function, and unless told not to, its too."""
        return self.losses(model, [count], scored)[0]

    def losses(self, model: Model, counts: Sequence[int | None], scored: bool = True) -> list[Loss]:
        """The same for several counts of first samples; each of them runs once."""
        firsts = [len(self._feeds) if count is None else min(count, len(self._feeds)) for count in counts]
        scored = scored and self._score is not None
        with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
            path = Path(folder) / "model.onnx"
            model.save(path, durable=False)
            key = dict(self.key)
            if self._store:
                key |= {"variant": digest_of_files(_files(path)), "counts": firsts, "scored": scored}
            return self._store.recall("losses", key, lambda: self._losses(path, firsts, scored), _packed, _unpacked)

    @property
    def judged(self) -> list[str]:
        """Outputs that are compared; what is not made of numbers is not."""
        return self._reference(len(self._feeds)).names

    @property
    def rows(self) -> int:
        """Rows of the output that has most of them, over all samples."""
        rows = (sum(v.size // max(1, *v.shape[-1:]) for v in values) for values in zip(*self._original(), strict=True))
        return max(rows, default=0)

    def _original(self) -> list[list[Array]]:
        if self._runs is None:
            self._runs = self._run(self._path, self._feeds)
        return self._runs

    def _losses(self, path: Path, counts: Sequence[int], scored: bool) -> list[Loss]:
        runs = self._run(path, self._feeds[: max(counts)])
        found = [self._reference(count).compare(runs[:count]) for count in counts]
        if not scored or self.original_score is None:
            return found
        lost = (self.original_score - self._scored(path)) / self.original_score
        return [Loss((*loss.outputs, OutputLoss("score", "score", 1, lost, lost, 0.0))) for loss in found]

    def _reference(self, count: int) -> Reference:
        if count not in self._references:
            self._references[count] = Reference(self._names, self._axes, self._original()[:count])
        return self._references[count]

    def _run(self, path: Path, feeds: Sequence[Feed]) -> list[list[Array]]:
        session = open_session(path, 1)  # so that results do not depend on the number of threads
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda feed: run(session, self._names, feed), feeds))

    def _kept_score(self) -> float:
        """What the scoring function gives for the original."""
        value = self._store.recall("score", self.key, lambda: self._scored(self._path), float, float)
        if value <= 0:
            raise ModelError(
                f"the scoring function gave {value:g} for the original model, of which no share can be lost; "
                "it must give a number above 0, the higher the better"
            )
        return value

    def _scored(self, path: Path) -> float:
        assert self._score is not None
        started = time.perf_counter()
        try:
            given = self._score(os.fspath(path))
        except (Exception, SystemExit) as error:  # whatever the user's function raises
            raise ModelError(f"the scoring function failed: {raised(error)}") from error
        self.calls, self.seconds = self.calls + 1, self.seconds + time.perf_counter() - started
        try:
            value = float(given)
        except (TypeError, ValueError):
            value = float("nan")
        if not np.isfinite(value):
            raise ModelError(f"the scoring function gave {given!r:.60}; it must give a number, the higher the better")
        return value


@dataclass(frozen=True, eq=False)
class Proof:
    """Samples that no weight was fitted to: those held out, which only turn down, and those that steer, too."""

    trial: Trial  # on those held out, then on the others
    held_out: int

    def loss(self, model: Model) -> float:
        """What samples held out have lost or, where that is more, what others are likely to lose at most."""
        held_out, all_of_them = self.trial.losses(model, (self.held_out, None))
        return max(held_out.value, all_of_them.bound)


def _files(path: Path) -> list[Path]:
    """A model's files."""
    return sorted(path.parent.glob(f"{path.name}*"))


def _packed(losses: list[Loss]) -> Any:
    return [[asdict(output) for output in loss.outputs] for loss in losses]


def _unpacked(kept: Any) -> list[Loss]:
    return [Loss(tuple(OutputLoss(**output) for output in outputs)) for outputs in kept]
