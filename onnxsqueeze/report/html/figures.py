"""The figures of a comparison: waterfall, layers before and after, bits and zeros, histograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from onnxsqueeze.report.expense import QUANTITIES, paid
from onnxsqueeze.report.html import charts
from onnxsqueeze.report.layers import nbytes
from onnxsqueeze.report.units import percent, prefix, ratio, short, size

if TYPE_CHECKING:
    from onnxsqueeze.report.comparison import Comparison
    from onnxsqueeze.report.expense import Expenses, Quantity
    from onnxsqueeze.report.layers import Layer, Side

CHARTED, DRAWN = 16, 12  # layers in charts and histograms
NAME, TITLE = 60, 300  # characters of a name that are shown, and that a tooltip holds
NARROW = 0.002  # of the width; neighbours below it are drawn as one


@dataclass(frozen=True)
class Row:
    """One row of a chart of bars."""

    label: str
    title: str
    svg: Markup
    value: str
    kind: str = ""


@dataclass(frozen=True)
class Panel:
    """Layers before and after, in one unit."""

    id: str
    label: str
    title: str
    rows: tuple[Row, ...]


def waterfall(found: Comparison) -> Iterator[Row]:
    """From the original's size to the compressed one's."""
    first, last = found.original, found.compressed
    steps = list(charts.steps([(c.label, c.nbytes) for c in found.changes], first.nbytes))
    top = max([first.nbytes, *(bar.start for bar in steps), *(bar.end for bar in steps)])
    whole = charts.bar(0, first.nbytes, top, "before", 16)
    yield Row("original", short(first.name, TITLE), whole, size(first.nbytes), "total")
    for bar in steps:
        change = bar.end - bar.start
        value = ("−" if change < 0 else "+") + size(abs(change)) if change else "0 B"
        drawn = charts.bar(bar.start, bar.end, top, bar.kind, 16)
        yield Row(short(bar.label, 60), short(bar.label, TITLE), drawn, value)
    left = charts.bar(0, last.nbytes, top, "after", 16)
    yield Row("compressed", short(last.name, TITLE), left, size(last.nbytes), "total")


def waterfall_note(found: Comparison) -> str:
    """What the waterfall's steps are."""
    if found.by_pass:
        return "Pass by pass: the bytes that the weights would have taken in the file after each."
    return "By the way in which weights are stored now; the two files alone do not tell what each pass saved."


def panels(found: Comparison) -> list[Panel]:
    """The layers that take most, before and after: of the file and, where that is known, of one inference."""
    sizes = [(x.name, float(nbytes(x.before)), float(nbytes(x.after))) for x in found.layers]
    drawn = [_panel("size", "Size", "Bytes in the file", "B", sizes)]
    if found.expenses is not None:
        for quantity in QUANTITIES:
            rows = list(_expenses(found.layers, found.expenses, quantity))
            drawn.append(_panel(quantity.key, quantity.label, quantity.title, quantity.unit, rows))
    return [panel for panel in drawn if panel.rows]


def _expenses(layers: Sequence[Layer], expenses: Expenses, quantity: Quantity) -> Iterator[tuple[str, float, float]]:
    first, second = expenses.before, expenses.after
    for layer in layers:
        before, after = paid(layer.before, first), paid(layer.after, second)
        yield layer.name, quantity.of(before), quantity.of(after)
    yield "all nodes without weights", quantity.of(first.rest), quantity.of(second.rest)


def _panel(key: str, label: str, title: str, unit: str, rows: Sequence[tuple[str, float, float]]) -> Panel:
    largest = sorted(rows, key=lambda row: -max(row[1], row[2]))[:CHARTED]
    top = max(largest[0][1:], default=0.0) if largest else 0.0
    factor, letter = prefix(top)
    drawn = tuple(_row(*row, top, factor) for row in largest if max(row[1:]) > 0)
    return Panel(key, label, f"{title}, {letter}{unit}", drawn)


def _row(name: str, before: float, after: float, top: float, factor: float) -> Row:
    bars = charts.bar(0, before, top, "before", 7) + charts.bar(0, after, top, "after", 7)
    value = f"{before / factor:.3g} → {after / factor:.3g}" + (f" ({ratio(before, after)})" if before and after else "")
    return Row(short(name, NAME), short(name, TITLE), bars, value)


def chart_note(layers: Sequence[Layer]) -> str:
    """How many layers the charts leave out."""
    return f"The {CHARTED} of {len(layers):,} weights that take most." if len(layers) > CHARTED else ""


def block_charts(layers: Sequence[Layer]) -> list[dict[str, object]]:
    """Bits and zeros of all layers, in the order of the graph."""
    bits, zeros = [], []
    for layer in layers:
        sides = [side for side in (layer.before, layer.after) if side is not None]
        before, after, width = layer.before, layer.after, float(sides[0].elements)
        bits.append(
            charts.Block(short(layer.name, 100), width, before.bits if before else 0, after.bits if after else 0)
        )
        zeros.append(charts.Block(short(layer.name, 100), width, 0, 100 * after.zeros if after else 0))
    top = max((max(block.before, block.after) for block in bits), default=1)
    drawn = [_blocks("Stored bits a weight", bits, top, "")]
    if any(block.after >= 1 for block in zeros):
        drawn.append(_blocks("Zero weights after compression", zeros, 100.0, " %"))
    return drawn


def _merged(blocks: Sequence[charts.Block]) -> Iterator[charts.Block]:
    """The blocks, with narrow neighbours put together: the areas stay the same."""
    narrow = NARROW * sum(block.width for block in blocks)
    run: list[charts.Block] = []
    for block in blocks:
        if run and (block.width >= narrow or sum(b.width for b in run) >= narrow):
            yield _one(run)
            run = []
        run.append(block)
    if run:
        yield _one(run)


def _one(run: Sequence[charts.Block]) -> charts.Block:
    width = sum(b.width for b in run)
    before, after = (sum(b.width * h for b, h in zip(run, heights, strict=True)) / width
                     for heights in ([b.before for b in run], [b.after for b in run]))  # fmt: skip
    title = run[0].title if len(run) == 1 else f"{run[0].title} and {len(run) - 1} more"
    return charts.Block(title, width, before, after)


def _both(layer: Layer, value: Callable[[Side], float], form: str) -> str:
    """A value before and after, in words."""
    return " → ".join("–" if side is None else form.format(value(side)) for side in (layer.before, layer.after))


def _blocks(title: str, items: Sequence[charts.Block], top: float, unit: str) -> dict[str, object]:
    marks = [8.0 * i for i in range(int(top / 8) + 1)] if top >= 32 and not unit else charts.ticks(top)
    ticks = [{"at": charts.at(tick / top), "text": f"{tick:g}{unit}"} for tick in marks]
    return {"title": title, "ticks": ticks, "svg": charts.blocks([*_merged(items)], top, 160, title, unit)}


def widest(largest: Sequence[Layer]) -> str:
    """The layers that the eye meets in those charts."""
    total = sum(nbytes(layer.before) for layer in largest) or 1
    return ", ".join(
        f"{short(layer.name, NAME)} ({percent(nbytes(layer.before) / total, 0)})"
        for layer in largest[:3]
        if layer.before
    )


def card(layer: Layer) -> dict[str, object]:
    """One layer's histogram with its numbers."""
    zeros = f"zeros {_both(layer, lambda side: 100 * side.zeros, '{:.1f}')} %"
    return {
        "title": short(layer.name, TITLE),
        "label": short(layer.name, NAME),
        "svg": mirror(layer),
        "range": f"±{_both(layer, lambda side: side.reach, '{:.2g}')}",
        "line": f"{_both(layer, lambda side: side.bits, '{:.1f}')} bits, {zeros}",
    }


def mirror(layer: Layer) -> Markup:
    """One layer's histograms before and after."""
    sides = [() if side is None else side.histogram for side in (layer.before, layer.after)]
    return charts.mirror(sides[0], sides[1], f"values of {short(layer.name, 100)} before and after")
