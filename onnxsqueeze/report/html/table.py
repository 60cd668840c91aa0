"""The table of all weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from onnxsqueeze.report.html.figures import mirror
from onnxsqueeze.report.units import error, percent, ratio, short, size

if TYPE_CHECKING:
    from onnxsqueeze.report.layers import Layer

NAME, TITLE = 60, 300  # characters of a name that are shown, and that a tooltip holds
SKETCHED = 250  # layers with histograms


@dataclass(frozen=True)
class Cell:
    """One cell of the table; ``value`` is what numbers are sorted by."""

    text: str | Markup
    value: float | None = None
    title: str = ""


COLUMNS = ("weight", "feeds", "shape", "stored as", "before", "after", "ratio", "bits", "zeros", "error", "values")


def table(layers: Sequence[Layer], listed: int) -> tuple[list[dict[str, object]], list[list[Cell]]]:
    """Columns and rows, for the ``listed`` first layers."""
    numeric = {"before", "after", "ratio", "bits", "zeros", "error"}
    columns: list[dict[str, object]] = [
        {"name": name, "numeric": name in numeric, "sorted": name == "before"} for name in COLUMNS
    ]
    return columns, [_cells(layer, number < SKETCHED) for number, layer in enumerate(layers[:listed])]


def _cells(layer: Layer, sketched: bool) -> list[Cell]:
    a, b = layer.before, layer.after
    shape = "×".join(map(str, (a or b).shape)) if a or b else ""  # type: ignore[union-attr]
    if a and b and a.shape != b.shape:
        shape += " → " + "×".join(map(str, b.shape))
    return [
        Cell(short(layer.name, NAME), None, short(layer.name, TITLE) if len(layer.name) > NAME else ""),
        Cell(short(layer.op_type, 24)),
        Cell(shape),
        Cell(b.encoding if b else "folded away"),
        Cell(size(a.nbytes) if a else "–", a.nbytes if a else -1),
        Cell(size(b.nbytes) if b else "–", b.nbytes if b else -1),
        Cell(ratio(a.nbytes, b.nbytes) if a and b else "–", round(a.nbytes / b.nbytes, 3) if a and b else -1),
        Cell(f"{b.bits:.2f}" if b else "–", round(b.bits, 3) if b else -1),
        Cell(percent(b.zeros) if b else "–", round(b.zeros, 4) if b else -1),
        Cell("–" if layer.error is None else error(layer.error), -1 if layer.error is None else round(layer.error, 6)),
        Cell(mirror(layer) if sketched else ""),
    ]


def note(layers: Sequence[Layer], listed: int) -> str:
    """What the table shows."""
    shown = f"The {listed:,} largest of {len(layers):,}. " if len(layers) > listed else ""
    return (
        f"{shown}Weights of 64 elements or more. Bits and zeros are those after compression; the error is that of the "
        "values, apart from one factor a channel, which folding changes."
    )
