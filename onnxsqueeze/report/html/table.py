"""The table of all weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from onnxsqueeze.report.expense import QUANTITIES, paid
from onnxsqueeze.report.html.figures import mirror
from onnxsqueeze.report.units import error, metric, percent, short, size

if TYPE_CHECKING:
    from onnxsqueeze.report.expense import Expenses
    from onnxsqueeze.report.layers import Layer

NAME, TITLE = 60, 300  # characters of a name that are shown, and that a tooltip holds
SKETCHED = 250  # layers with histograms


@dataclass(frozen=True)
class Cell:
    """One cell of the table; ``value`` is what numbers are sorted by."""

    text: str | Markup
    value: float | None = None
    title: str = ""


COLUMNS = ("weight", "feeds", "shape", "stored as", "before", "after", "ratio", "bits", "zeros", "error")


def table(
    layers: Sequence[Layer], listed: int, expenses: Expenses | None
) -> tuple[list[dict[str, object]], list[list[Cell]]]:
    """Columns and rows, for the ``listed`` first layers."""
    more = [] if expenses is None else [quantity.label.lower() for quantity in QUANTITIES]
    columns: list[dict[str, object]] = [
        {"name": name, "numeric": name not in COLUMNS[:4], "sorted": name == "before"} for name in [*COLUMNS, *more]
    ]
    columns.append({"name": "values", "numeric": False, "sorted": False})
    rows = []
    for number, layer in enumerate(layers[:listed]):
        sketch = Cell(mirror(layer) if number < SKETCHED else "")
        rows.append([*_cells(layer), *_expense_cells(layer, expenses), sketch])
    return columns, rows


def _cells(layer: Layer) -> list[Cell]:
    a, b = layer.before, layer.after
    shapes = dict.fromkeys("×".join(map(str, side.shape)) for side in (a, b) if side is not None)
    return [
        Cell(short(layer.name, NAME), None, short(layer.name, TITLE) if len(layer.name) > NAME else ""),
        Cell(short(layer.op_type, 24)),
        Cell(" → ".join(shapes)),
        Cell(b.encoding if b else "folded away"),
        _number(a.nbytes if a else None, size),
        _number(b.nbytes if b else None, size),
        _number(a.nbytes / b.nbytes if a and b else None, "{:.2f}x".format),
        _number(b.bits if b else None, "{:.2f}".format),
        _number(b.zeros if b else None, percent),
        _number(layer.error, error),
    ]


def _expense_cells(layer: Layer, expenses: Expenses | None) -> Iterator[Cell]:
    """Before and after; sorted by after."""
    if expenses is None:
        return
    before, after = paid(layer.before, expenses.before), paid(layer.after, expenses.after)
    for quantity in QUANTITIES:
        was, now = quantity.of(before), quantity.of(after)
        text = f"{metric(was, quantity.unit)} → {metric(now, quantity.unit)}" if was or now else "–"
        yield Cell(text, float(f"{now:.4g}"))


def _number(value: float | None, form: Callable[[float], str]) -> Cell:
    return Cell("–", -1) if value is None else Cell(form(value), float(f"{value:.6g}"))


def note(layers: Sequence[Layer], listed: int) -> str:
    """What the table shows."""
    shown = f"The {listed:,} largest of {len(layers):,}. " if len(layers) > listed else ""
    return (
        f"{shown}Weights of 64 elements or more. Bits and zeros are those after compression; the error is that of the "
        "values, apart from one factor a channel, which folding changes."
    )
