"""The report on two files: reads, runs and compares them, and writes what was asked for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.compress import RUN_UP_TO
from onnxsqueeze.pipeline.context import Context, Progress
from onnxsqueeze.report import comparison, layers, stored
from onnxsqueeze.report.write import check_text, write_text

if TYPE_CHECKING:
    from onnxsqueeze.compress import Result
    from onnxsqueeze.report.comparison import Comparison
    from onnxsqueeze.report.stored import Stored
    from onnxsqueeze.sweep import Sweep
    from onnxsqueeze.verify import Verification

HTML, MARKDOWN = (".html", ".htm"), (".md", ".markdown")


@dataclass(frozen=True)
class Wishes:
    """Where a report goes, and what it is to say beyond the files themselves."""

    html: str | None = None
    markdown: str | None = None
    device: str | None = None

    def check(self, *inputs: str) -> None:
        """Refuses outputs that cannot be written, before any work is done."""
        if self.html is not None:
            check_text(Path(self.html), HTML, *inputs)
        if self.markdown is not None:
            check_text(Path(self.markdown), MARKDOWN, *inputs)


def report(
    original: str,
    compressed: str,
    wishes: Wishes,
    *,
    inputs: str | None = None,
    seed: int = 0,
    run: bool = True,
    progress: Progress,
) -> Comparison:
    """Compares two files and writes the report; raises SqueezeError, and writes nothing then.

    ``inputs``: ``.npz`` file to run both on, made from the signature otherwise; ``run``: False leaves that out.
    """
    wishes.check(original, compressed)
    jobs = os.cpu_count() or 1
    before, after = stored.read(original, jobs), stored.read(compressed, jobs)
    with ThreadPoolExecutor(1) as pool:  # running the models takes longer than everything else
        running = pool.submit(_verify, before, after, inputs, seed, progress) if run else None
        found = layers.compare(before, after, Context(jobs=max(1, jobs // 2)))
        verification, notes = (None, []) if running is None else running.result()
    made = comparison.put_together(before, after, found, verification, notes)
    _write(made, wishes)
    return made


def _verify(
    before: Stored, after: Stored, inputs: str | None, seed: int, progress: Progress
) -> tuple[Verification | None, list[str]]:
    """How close the outputs of two files are, whose packed weights have been decoded and so checked; or why not."""
    from onnxsqueeze.verify import FRUGAL_FROM, CannotRun, signature, verify

    feeds = signature.read(inputs) if inputs else None
    if before.nbytes > RUN_UP_TO and feeds is None:
        return None, ["a model of over 2 GB is not run without --inputs; so outputs were not compared"]
    frugal = before.nbytes > FRUGAL_FROM
    try:
        return verify(before.path, after.path, feeds, inputs or "", seed, frugal, progress, native=True), []
    except CannotRun as error:
        return None, [f"{error}; so outputs were not compared"]


def report_result(result: Result, wishes: Wishes, command: str, progress: Progress) -> Comparison:
    """Writes the report on what ``compress`` did; ``command``: the line that did it."""
    found = comparison.of_result(result, Context(progress=progress, jobs=os.cpu_count() or 1), command)
    _write(found, wishes)
    return found


def _write(found: Comparison, wishes: Wishes) -> None:
    from onnxsqueeze.report.html.page import page
    from onnxsqueeze.report.markdown import markdown

    if wishes.html is not None:
        write_text(Path(wishes.html), page(found))
    if wishes.markdown is not None:
        write_text(Path(wishes.markdown), markdown(found))


def report_sweep(found: Sweep, html: str) -> None:
    """Writes the page of a sweep."""
    from onnxsqueeze.report.html.plot import page

    write_text(Path(html), page(found))
