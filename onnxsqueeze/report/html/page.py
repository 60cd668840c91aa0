"""The page of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsqueeze.report import sparsity
from onnxsqueeze.report.expense import QUANTITIES, basis, residence
from onnxsqueeze.report.html import figures
from onnxsqueeze.report.html.table import note, table
from onnxsqueeze.report.html.template import render
from onnxsqueeze.report.layers import nbytes
from onnxsqueeze.report.units import error, metric, percent, ratio, short, size

if TYPE_CHECKING:
    from onnxsqueeze.report.comparison import Comparison
    from onnxsqueeze.verify import Fidelity

LIMIT = 1_400_000  # bytes of a page; of very many layers only the largest are listed
LISTED = (1500, 600, 200, 50)  # layers in the table: the first number that fits
LAYERS = 40  # in the table of break-even
LINES = 100  # outputs and notes that are listed


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    label: str
    big: str
    line: str


def page(found: Comparison) -> str:
    """The whole page as HTML."""
    text = ""
    for listed in (*LISTED, 0):
        text = _page(found, listed)
        if len(text.encode()) <= LIMIT:
            break
    return text


def _page(found: Comparison, listed: int) -> str:
    """The page with so many layers in its table."""
    largest = sorted(found.layers, key=lambda layer: -nbytes(layer.before))
    columns, rows = table(largest, listed, found.expenses)
    more = len(found.notes) - LINES
    return render(
        "comparison.html",
        kind="report",
        title=f"{short(found.original.name, 100)} → {short(found.compressed.name, 100)}",
        original=found.original,
        compressed=found.compressed,
        passes=found.passes,
        tiles=list(_tiles(found)),
        waterfall=list(figures.waterfall(found)),
        waterfall_note=figures.waterfall_note(found),
        panels=figures.panels(found),
        expenses=found.expenses,
        basis=basis(found.expenses) if found.expenses else "",
        residence=residence(found.expenses) if found.expenses else "",
        break_even=[] if found.expenses is None else list(sparsity.rows(found.expenses, LAYERS)),
        break_even_head=sparsity.HEAD,
        break_even_note=f"{sparsity.sentence(found.expenses)} {sparsity.EXPLAINED}" if found.expenses else "",
        chart_note=figures.chart_note(largest),
        block_charts=figures.block_charts(found.layers),
        block_names=figures.widest(largest),
        cards=[figures.card(layer) for layer in largest[: figures.DRAWN]],
        verification=found.verification,
        outputs=_outputs(found),
        notes=[*found.notes[:LINES], *([f"and {more:,} more"] if more > 0 else [])],
        kept=_kept(found),
        table_note=note(largest, listed),
        columns=columns,
        rows=rows,
        command=found.command,
    )


def _outputs(found: Comparison) -> list[Fidelity]:
    """The outputs that moved most."""
    outputs = () if found.verification is None else found.verification.outputs
    return sorted(outputs, key=lambda f: -f.relative_error)[:LINES]


def _tiles(found: Comparison) -> Iterator[Tile]:
    before, after = found.original, found.compressed
    saved = 1 - after.nbytes / before.nbytes
    yield Tile("Smaller", ratio(before.nbytes, after.nbytes), f"{percent(saved)} of the file saved")
    yield Tile("Size", size(after.nbytes), f"was {size(before.nbytes)}")
    yield Tile("Stored bits a weight", f"{after.bits:.2f}", f"was {before.bits:.2f}")
    yield Tile("Zero weights", percent(after.zeros), f"was {percent(before.zeros)}")
    yield from _expense_tiles(found)
    worst = None if found.verification is None else found.verification.worst
    if worst is not None:
        same = "" if worst.top1 is None else f", same top-1 {percent(worst.top1)}"
        yield Tile("Outputs moved by", "0 %" if worst.exact else error(worst.relative_error), f"worst output{same}")


def _expense_tiles(found: Comparison) -> Iterator[Tile]:
    if found.expenses is None:
        return
    before, after = found.expenses.before.total, found.expenses.after.total
    for quantity in QUANTITIES:
        was, now = quantity.of(before), quantity.of(after)
        yield Tile(f"{quantity.label} a run", metric(now, quantity.unit), f"was {metric(was, quantity.unit)}")


def _kept(found: Comparison) -> list[str]:
    """What stayed dense, in numbers: by size, since what a pass refused by choice is in its notes."""
    dense = [layer for layer in found.layers if layer.after is not None and layer.after.encoding == layer.after.dtype]
    if not dense or len(dense) == len(found.layers):
        return []
    total = sum(nbytes(layer.after) for layer in dense)
    kinds = Counter(layer.op_type or "nothing" for layer in dense).most_common(4)
    return [
        f"{len(dense):,} of {len(found.layers):,} weights stay dense, {size(total)} together: most feed "
        f"{', '.join(f'{kind} ({count:,})' for kind, count in kinds)}. No pass gave them a packed "
        "form, or it would not pay for its own overhead."
    ]
