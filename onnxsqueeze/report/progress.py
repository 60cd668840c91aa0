"""Progress bars for anything that takes over a second."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE = 1.0  # seconds before a bar appears


class Bars:
    """One bar for the current stage on stderr, where that is a terminal, once the job has taken ``PATIENCE`` seconds.

    A thread draws it, so that it also appears while one long step is running.
    """

    def __init__(self, visible: bool) -> None:
        self._visible = visible and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._stage, self._detail, self._steps, self._done = "", "", 0, 0
        self._ended = threading.Event()

    def __enter__(self) -> Bars:
        if self._visible:
            threading.Thread(target=self._appear, args=(time.monotonic() + PATIENCE,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def start(self, stage: str, steps: int) -> None:
        """A stage begins."""
        self._stage, self._detail, self._steps, self._done = stage, "", steps, 0
        self._draw()

    def advance(self, detail: str) -> None:
        """One tensor is done."""
        self._detail, self._done = detail, self._done + 1
        self._draw()

    def finish(self) -> None:
        """The stage is over."""

    def _appear(self, when: float) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        if self._ended.wait(max(0.0, when - time.monotonic())):
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        with self._lock:
            if self._ended.is_set():
                return
            self._progress = Progress(*columns, console=Console(stderr=True, emoji=False), transient=True)
            self._task = self._progress.add_task("", total=None)
            self._progress.start()
        self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self._progress is None or self._task is None:
                return
            text = f"{self._stage}: {self._detail[-40:]}" if self._detail else self._stage
            self._progress.update(self._task, description=text, total=self._steps or None, completed=self._done)
