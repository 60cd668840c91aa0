"""A comparison as tables and bars in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from onnxsqueeze.report import sparsity
from onnxsqueeze.report.expense import basis, residence, totals
from onnxsqueeze.report.layers import nbytes
from onnxsqueeze.report.tables import show_verification, table, visible
from onnxsqueeze.report.units import error, percent, ratio, short, size

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.report.comparison import Comparison

LISTED, WIDTH = 16, 32  # layers, and characters of a bar
EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(start: float, end: float, top: float, width: int = WIDTH) -> str:
    """A bar from ``start`` to ``end`` of ``top``; its end is drawn to an eighth of a character."""
    low, high = sorted((start / top, end / top)) if top else (0.0, 0.0)
    first = int(low * width)
    eighths = max(1, round((high * width - first) * 8)) if high > low else 0
    return " " * first + "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def show(found: Comparison, console: Console) -> None:
    """Sizes, where the bytes went, the largest layers, outputs and notes."""
    before, after = found.original, found.compressed
    rows = [
        ("file", size(before.nbytes), size(after.nbytes), ratio(before.nbytes, after.nbytes)),
        ("weights", *map(size, (before.weight_nbytes, after.weight_nbytes)),
         ratio(before.weight_nbytes, after.weight_nbytes)),
        ("stored bits a weight", f"{before.bits:.2f}", f"{after.bits:.2f}", ratio(before.bits, after.bits)),
        ("zero weights", percent(before.zeros), percent(after.zeros), ""),
        *totals(found.expenses),
    ]  # fmt: skip
    console.print(table("Before and after", ["", "before", "after", "ratio"], rows))
    if found.expenses is not None:
        sentences = f"{basis(found.expenses)}. {residence(found.expenses)}"
        console.print(visible(f"{sentences} {sparsity.sentence(found.expenses)}"), markup=False, highlight=False)
    _show_changes(found, console)
    _show_layers(found, console)
    if found.verification is not None:
        show_verification(found.verification, console)
    for note in found.notes:
        console.print(f"note: {visible(note)}", markup=False, highlight=False)
    console.print(
        f"{visible(before.name)} → {visible(after.name)}: {size(before.nbytes)} → {size(after.nbytes)}, "
        f"{found.ratio:.2f}x smaller",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _show_changes(found: Comparison, console: Console) -> None:
    position, top = found.original.nbytes, found.original.nbytes
    rows: list[tuple[object, ...]] = [("original", Text(bar(0, position, top), "bright_black"), size(position))]
    for change in found.changes:
        top = max(top, position)
        drawn = Text(bar(position, position + change.nbytes, top), "green" if change.nbytes <= 0 else "yellow")
        position += change.nbytes
        sign = "−" if change.nbytes < 0 else "+"
        rows.append((short(change.label, 48), drawn, f"{sign}{size(abs(change.nbytes))}"))
    rows.append(("compressed", Text(bar(0, found.compressed.nbytes, top), "blue"), size(found.compressed.nbytes)))
    console.print(table("Where the bytes went", ["", "", "bytes"], rows, left=2))


def _show_layers(found: Comparison, console: Console) -> None:
    largest = sorted(found.layers, key=lambda layer: -nbytes(layer.before))
    columns = ["weight", "feeds", "stored as", "before", "after", "ratio", "bits", "zeros", "error"]
    rows = []
    for layer in largest[:LISTED]:
        a, b = layer.before, layer.after
        rows.append(
            (
                short(layer.name, 28),
                short(layer.op_type, 16),
                b.encoding if b else "folded away",
                size(a.nbytes) if a else "-",
                size(b.nbytes) if b else "-",
                ratio(a.nbytes, b.nbytes) if a and b else "-",
                f"{b.bits:.2f}" if b else "-",
                percent(b.zeros) if b else "-",
                "-" if layer.error is None else error(layer.error),
            )
        )
    console.print(table("Weights", columns, rows, left=3))
    if len(largest) > LISTED:
        console.print(f"… and {len(largest) - LISTED:,} smaller ones; --html lists them", highlight=False)
