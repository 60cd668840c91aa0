"""The report on two files: reads, runs and compares them, and writes what was asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze import cost
from onnxsqueeze.cost.device import DEFAULT
from onnxsqueeze.draft import RUN_UP_TO
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.load import parse
from onnxsqueeze.pipeline.context import Context, Progress
from onnxsqueeze.report import comparison, layers, stored
from onnxsqueeze.report.expense import Expenses, estimate
from onnxsqueeze.report.write import check_text, write_text
from onnxsqueeze.verify import signature
from onnxsqueeze.verify.signature import Feeds

if TYPE_CHECKING:
    from onnxsqueeze.compress import Result
    from onnxsqueeze.cost import Device
    from onnxsqueeze.report.comparison import Comparison
    from onnxsqueeze.report.stored import Stored
    from onnxsqueeze.sensitivity import Sensitivity
    from onnxsqueeze.sweep import Sweep
    from onnxsqueeze.verify import Verification

HTML, MARKDOWN = (".html", ".htm"), (".md", ".markdown")


@dataclass(frozen=True)
class Wishes:
    """Where a report goes, and what it is to say beyond the files themselves."""

    html: str | None = None
    markdown: str | None = None
    device: str = DEFAULT

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
    device = cost.load_device(wishes.device)
    jobs = os.cpu_count() or 1
    before, after = stored.read(original, jobs), stored.read(compressed, jobs)
    feeds = signature.check(parse(before.path), signature.read(inputs), inputs) if inputs else None
    with ThreadPoolExecutor(1) as pool:  # running the models takes longer than everything else
        running = pool.submit(_verify, before, after, feeds, inputs or "", seed, progress) if run else None
        found = layers.compare(before, after, Context(jobs=max(1, jobs // 2)))
        expenses, notes = _estimate(before, after, device, feeds)
        verification, reasons = (None, []) if running is None else running.result()
    made = comparison.compare(before, after, found, verification, expenses, [*notes, *reasons])
    _write(made, wishes)
    return made


def report_result(result: Result, wishes: Wishes, command: str, progress: Progress) -> Comparison:
    """Writes the report on what ``compress`` did; ``command``: the line that did it."""
    assert result.output is not None
    device = cost.load_device(wishes.device)
    jobs = os.cpu_count() or 1
    before, after = stored.read(result.source, jobs), stored.read(result.output, jobs)
    found = layers.compare(before, after, Context(progress=progress, jobs=jobs))
    expenses, notes = _estimate(before, after, device, None)
    made = comparison.compare(before, after, found, result.verification, expenses, [*result.notes, *notes])
    made = comparison.with_passes(made, result, command)
    _write(made, wishes)
    return made


def _estimate(
    before: Stored, after: Stored, device: Device, feeds: Sequence[Feeds] | None
) -> tuple[Expenses | None, list[str]]:
    """What both models cost to run; or why that cannot be said."""
    shapes = {name: values.shape for name, values in feeds[0].items()} if feeds else None
    try:
        return estimate(before, after, device, shapes), []
    except ModelError as error:
        return None, [f"energy and time are not estimated: {error}"]


def _verify(
    before: Stored, after: Stored, feeds: Sequence[Feeds] | None, origin: str, seed: int, progress: Progress
) -> tuple[Verification | None, list[str]]:
    """How close the outputs of two files are, whose packed weights have been decoded and so checked; or why not."""
    from onnxsqueeze.verify import FRUGAL_FROM, CannotRun, verify

    if before.nbytes > RUN_UP_TO and feeds is None:
        return None, ["a model of over 2 GB is not run without --inputs; so outputs were not compared"]
    frugal = before.nbytes > FRUGAL_FROM
    try:
        return verify(before.path, after.path, feeds, origin, seed, frugal, progress, native=True), []
    except CannotRun as error:
        return None, [f"{error}; so outputs were not compared"]


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


def report_sensitivity(found: Sensitivity, html: str) -> None:
    """Writes the page of a sensitivity analysis."""
    from onnxsqueeze.report.html.heat import page

    write_text(Path(html), page(found))
