"""What a pass is given beside the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from onnxsqueeze.pipeline.store import Store

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline.previous import Previous

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress(Protocol):
    """Receives the steps of a stage as they are done."""

    def start(self, stage: str, steps: int) -> None:
        """A stage begins; ``steps`` is 0 where unknown."""

    def advance(self, detail: str) -> None:
        """One step of the stage is done."""

    def finish(self) -> None:
        """The stage is over."""


class Silent:
    """A progress reporter that says nothing."""

    def start(self, stage: str, steps: int) -> None:
        """Says nothing."""

    def advance(self, detail: str) -> None:
        """Says nothing."""

    def finish(self) -> None:
        """Says nothing."""


_SILENT = Silent()
_NOTHING = Store()


@dataclass(frozen=True)
class Context:
    """Seed, calibration inputs or None, progress reporter, workers, and the names of the passes that follow."""

    seed: int = 0
    calibration: tuple[dict[str, Any], ...] | None = None
    progress: Progress = _SILENT
    jobs: int = 1
    following: tuple[str, ...] = ()
    held_out: tuple[dict[str, Any], ...] = ()  # calibration inputs that only report what was lost
    accounts: Callable[[Any], None] = lambda account: None  # receives what was measured on the calibration inputs
    notes: Callable[[str], None] = lambda text: None  # receives one line for each thing skipped, with the reason
    store: Store = _NOTHING  # results of earlier runs that were broken off
    previous: Previous | None = None  # the previous version, of which to keep what costs no fidelity

    def quiet(self) -> Context:
        """The same for work on the side, which nobody needs to hear of."""
        return replace(self, progress=_SILENT, notes=lambda text: None)

    def each(
        self, stage: str, work: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str]
    ) -> Iterator[Result]:
        """Applies ``work`` to every item on ``jobs`` threads and yields the results in the items' order."""
        from joblib import Parallel, delayed
        from threadpoolctl import threadpool_limits

        listed = list(items)
        self.progress.start(stage, len(listed))
        pool = Parallel(self.jobs, backend="threading", return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")
        with threadpool_limits(1):  # jobs are the threads, and results do not depend on their number
            results = pool(delayed(work)(item) for item in listed)
            try:
                for item, result in zip(listed, results, strict=True):
                    self.progress.advance(name(item))
                    yield result
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of work that is given up, where an error ends it
                    results.close()
                self.progress.finish()


class Pass(Protocol):
    """Rewrites a valid model into a valid model, in place; a frozen dataclass whose fields are its options."""

    def __call__(self, model: Model, context: Context) -> int:
        """Returns the number of changes; 0 means that not a byte was touched."""
