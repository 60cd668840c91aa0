"""The report on two files: reads, runs and compares them, and writes what was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.compress import resolve
from onnxsqueeze.pipeline.context import Context, Progress
from onnxsqueeze.report import comparison
from onnxsqueeze.report.write import check_text, write_text

if TYPE_CHECKING:
    from onnxsqueeze.compress import Result
    from onnxsqueeze.report.comparison import Comparison
    from onnxsqueeze.sweep import Sweep

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
    from onnxsqueeze.verify import verify_files

    wishes.check(original, compressed)
    verification = None
    if run:
        verification = verify_files(resolve(original), resolve(compressed), inputs, seed, progress)
    context = Context(seed=seed, progress=progress, jobs=os.cpu_count() or 1)
    found = comparison.compare(original, compressed, verification, context)
    _write(found, wishes)
    return found


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
