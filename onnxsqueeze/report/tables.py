"""Results as tables in the terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnxsqueeze.report.facts import groups
from onnxsqueeze.report.units import metric, ratio, size

if TYPE_CHECKING:
    from onnxsqueeze.calibration.loss import OutputLoss
    from onnxsqueeze.compress import Result
    from onnxsqueeze.passes.allocation import Account
    from onnxsqueeze.verify import Verification


class Screen(Console):
    """A console that prints names as they are: nothing in them is markup, an emoji or to be coloured."""

    def __init__(self, file: IO[str] | None = None, width: int | None = None) -> None:
        super().__init__(file=file, width=width, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> NoReturn:
        """Raises BrokenPipeError: what becomes of the process is for the command line to say."""
        raise BrokenPipeError


def count(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> Table:
    """A table whose first ``left`` columns are text and the others numbers."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        made.add_column(column, justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(visible(str(cell))) for cell in row))
    return made


def visible(text: str) -> str:
    """Text that does nothing to a terminal: characters that steer it, or the direction of text, become ``\ufffd``."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf") else c for c in text)


def show(result: Result, console: Console) -> None:
    """The whole report of one compression."""
    steps = [
        (s.text, f"{s.changes:,}", size(s.nbytes_before), size(s.nbytes_after), f"{s.seconds:.1f}")
        for s in result.steps
    ]
    console.print(table("Passes", ["pass", "changes", "weights before", "after", "seconds"], steps))
    kinds = [
        (
            g.role,
            g.encoding,
            f"{g.tensors:,}",
            f"{g.elements:,}",
            size(g.nbytes_before),
            size(g.nbytes_after),
            ratio(g.nbytes_before, g.nbytes_after),
        )
        for g in groups(result.weights)
    ]
    console.print(
        table("Tensors", ["used by", "stored as", "tensors", "weights", "before", "after", "ratio"], kinds, left=2)
    )
    if result.verification is not None:
        show_verification(result.verification, console)
    if result.account is not None:
        show_account(result.account, console)
    for note in result.notes:
        console.print(f"note: {visible(note)}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{result.source}: {size(result.original_nbytes)} → {size(result.compressed_nbytes)}, "
        f"{result.ratio:.2f}x smaller, in {result.seconds:.1f} s" + (f" → {result.output}" if result.output else ""),
        soft_wrap=True,
    )


def show_account(account: Account, console: Console) -> None:
    """The loss on the samples that steered, and on those that were held out."""
    held = {o.output: o for o in account.held_out_loss}
    rows = [
        (
            o.output,
            {"decisions": "decisions changed", "variance": "variance unexplained"}.get(o.kind, "score lost"),
            _lost(o),
            _lost(held[o.output]) if o.output in held else "-",
        )
        for o in account.steering_loss
    ]
    title = (
        f"Loss: {count(account.fitted, 'sample')} fitted to, "
        f"{f'{account.steering:,} that steered' if account.apart else 'the same steered'}, "
        f"{f'{account.held_out:,}' if account.held_out else 'none'} held out"
    )
    console.print(table(title, ["output", "measure", "steering", "held out"], rows, left=2))
    if (found := account.prediction) is not None:
        unit = {"macs": "MACs", "seconds": "s", "joules": "J"}[found.quantity]
        before, after, limit = (metric(value, unit) for value in (found.before, found.after, found.limit))
        console.print(
            f"Predicted for a run on {visible(found.device)}: {before} → {after}, of {limit} asked for; lowered by "
            f"{', '.join(found.means) or 'nothing: it was below that already'}",
            soft_wrap=True,
        )


def _lost(loss: OutputLoss) -> str:
    """In percent, with the standard error that samples leave."""
    told = f"{100 * loss.measured:.2f}"
    return f"{told} ± {100 * loss.doubt:.2f} %" if loss.doubt else f"{told} %"


def show_verification(verification: Verification, console: Console) -> None:
    """The outputs compared, and on which inputs."""
    rows = [
        (f.output, "nothing finite", "-", "-")
        if math.isnan(f.relative_error)
        else (
            f.output,
            "exact" if f.exact else f"{f.relative_error:.2e}",
            f"{f.cosine:.6f}",
            "-" if f.top1 is None else f"{100 * f.top1:.2f} %",
        )
        for f in verification.outputs
    ]
    title = f"Outputs compared on {count(verification.samples, 'input set')} ({verification.inputs}), in onnxruntime"
    console.print(table(title, ["output", "relative error", "cosine", "same top-1"], rows))
