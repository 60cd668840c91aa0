"""Progress bars for anything that takes over a second."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

PATIENCE = 1.0  # seconds before a bar appears


class Bars:
    """One bar for the current stage, drawn only once the whole job has taken ``PATIENCE`` seconds."""

    def __init__(self, visible: bool) -> None:
        import sys

        self._visible = visible and sys.stderr.isatty()
        self._started = time.perf_counter()
        self._progress: Any = None
        self._task: Any = None
        self._stage, self._steps, self._done = "", 0, 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def start(self, stage: str, steps: int) -> None:
        """A stage begins."""
        self._stage, self._steps, self._done = stage, steps, 0
        self._close_task()

    def advance(self, detail: str) -> None:
        """One tensor is done."""
        self._done += 1
        if not self._visible or time.perf_counter() - self._started < PATIENCE:
            return
        progress = self._open()
        text = f"{self._stage}: {detail[-40:]}"
        if self._task is None:
            self._task = progress.add_task(text, total=self._steps or None)
        progress.update(self._task, completed=self._done, description=text)

    def finish(self) -> None:
        """The stage is over."""
        self._close_task()

    def _open(self) -> Any:  # rich is imported only when a bar is drawn
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
        return self._progress

    def _close_task(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)
        self._task = None

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
