"""How much a model has lost: variants of it run on samples and compared with the original."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.loss import Loss, OutputLoss, Reference
from onnxsqueeze.calibration.outputs import class_axes
from onnxsqueeze.calibration.samples import function
from onnxsqueeze.calibration.session import open_session, run
from onnxsqueeze.errors import ModelError

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
Feed = Mapping[str, Any]


class Trial:
    """A model as it was, and samples: tells how far variants of it have moved on some of them."""

    def __init__(self, model: Model, feeds: Sequence[Feed], threads: int, score: str = "") -> None:
        """Runs the model as it is now. ``score``: ``module:function`` that takes a path and gives a number."""
        self._feeds, self._threads = list(feeds), threads
        self._names = [value.name for value in model.proto.graph.output]
        self._axes = class_axes(model)
        self._score = function(score, "score") if score else None
        runs, self._original = self._run(model, self._feeds, bool(score))
        self._runs = runs
        self._references: dict[int, Reference] = {}

    @property
    def original_score(self) -> float | None:
        """What the scoring function gives for the original; None without one."""
        return self._original

    def loss(self, model: Model, count: int | None = None, scored: bool = True) -> Loss:
        """Of a variant, on the first ``count`` samples; with a scoring function, and unless told not to, its too."""
        count = len(self._feeds) if count is None else min(count, len(self._feeds))
        runs, score = self._run(model, self._feeds[:count], scored and self._score is not None)
        if count not in self._references:
            self._references[count] = Reference(self._names, self._axes, self._runs[:count])
        found = self._references[count].compare(runs)
        if score is None or self._original is None:
            return found
        lost = (self._original - score) / max(abs(self._original), 1e-12)
        return Loss((*found.outputs, OutputLoss("score", "score", 1, lost, lost, 0.0)))

    def _run(self, model: Model, feeds: Sequence[Feed], scored: bool) -> tuple[list[list[Array]], float | None]:
        with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
            path = Path(folder) / "model.onnx"
            model.save(path, durable=False)
            session = open_session(path, 1)  # so that results do not depend on the number of threads
            with ThreadPoolExecutor(self._threads) as pool:
                runs = list(pool.map(lambda feed: run(session, self._names, feed), feeds))
            return runs, self._scored(path) if scored else None

    def _scored(self, path: Path) -> float:
        assert self._score is not None
        try:
            value = float(self._score(os.fspath(path)))
        except Exception as error:  # whatever the user's function raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"the scoring function failed: {reason}") from error
        if not np.isfinite(value):
            raise ModelError(f"the scoring function gave {value}; it must give a number, the higher the better")
        return value
