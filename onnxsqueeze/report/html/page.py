"""The page of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from onnxsqueeze.report.html import charts
from onnxsqueeze.report.html.template import render
from onnxsqueeze.report.layers import nbytes
from onnxsqueeze.report.units import error, percent, ratio, short, size

if TYPE_CHECKING:
    from onnxsqueeze.report.comparison import Comparison
    from onnxsqueeze.report.layers import Layer, Side

CHARTED, DRAWN, LISTED, SKETCHED = 16, 12, 1500, 250  # layers in charts, histograms, the table, and its histograms
NAME = 100  # characters of a name that are shown


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    label: str
    big: str
    line: str


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


@dataclass(frozen=True)
class Cell:
    """One cell of the table; ``value`` is what numbers are sorted by."""

    text: str | Markup
    value: float | None = None
    title: str = ""


def page(found: Comparison) -> str:
    """The whole page as HTML."""
    largest = sorted(found.layers, key=lambda layer: -nbytes(layer.before))
    panels = [_panel("size", "Size", "Bytes in the file", largest)]
    columns, rows = _table(largest)
    return render(
        "comparison.html",
        kind="report",
        title=f"{short(found.original.name, NAME)} → {short(found.compressed.name, NAME)}",
        original=found.original,
        compressed=found.compressed,
        passes=found.passes,
        tiles=list(_tiles(found)),
        waterfall=list(_waterfall(found)),
        waterfall_note=_waterfall_note(found),
        panels=panels,
        chart_note=_chart_note(largest),
        block_charts=_block_charts(found.layers),
        block_names=_widest(largest),
        cards=[_card(layer) for layer in largest[:DRAWN]],
        verification=found.verification,
        notes=found.notes,
        kept=_kept(found),
        table_note=_table_note(largest),
        columns=columns,
        rows=rows,
        command=found.command,
    )


def _tiles(found: Comparison) -> Iterator[Tile]:
    before, after = found.original, found.compressed
    saved = 1 - after.nbytes / before.nbytes
    yield Tile("Smaller", ratio(before.nbytes, after.nbytes), f"{percent(saved)} of the file saved")
    yield Tile("Size", size(after.nbytes), f"was {size(before.nbytes)}")
    yield Tile("Stored bits a weight", f"{after.bits:.2f}", f"was {before.bits:.2f}")
    yield Tile("Zero weights", percent(after.zeros), f"was {percent(before.zeros)}")
    worst = None if found.verification is None else found.verification.worst
    if worst is not None:
        same = "" if worst.top1 is None else f", same top-1 {percent(worst.top1)}"
        yield Tile("Outputs moved by", "0 %" if worst.exact else error(worst.relative_error), f"worst output{same}")


def _waterfall(found: Comparison) -> Iterator[Row]:
    first, last = found.original.nbytes, found.compressed.nbytes
    steps = list(charts.steps([(c.label, c.nbytes) for c in found.changes], first))
    top = max([first, *(bar.start for bar in steps), *(bar.end for bar in steps)])
    yield Row("original", found.original.name, charts.bar(0, first, top, "before", 16), size(first), "total")
    for bar in steps:
        change = bar.end - bar.start
        value = ("−" if change < 0 else "+") + size(abs(change)) if change else "0 B"
        yield Row(short(bar.label, 60), bar.title, charts.bar(bar.start, bar.end, top, bar.kind, 16), value)
    yield Row("compressed", found.compressed.name, charts.bar(0, last, top, "after", 16), size(last), "total")


def _waterfall_note(found: Comparison) -> str:
    if found.by_pass:
        return "Pass by pass: the bytes that the weights would have taken in the file after each."
    return "By the way in which weights are stored now; the two files alone do not tell what each pass saved."


def _panel(key: str, label: str, title: str, layers: Sequence[Layer]) -> Panel:
    top = max((max(nbytes(x.before), nbytes(x.after)) for x in layers), default=1)
    return Panel(key, label, title, tuple(_size_row(layer, top) for layer in layers[:CHARTED]))


def _size_row(layer: Layer, top: float) -> Row:
    before, after = nbytes(layer.before), nbytes(layer.after)
    bars = charts.bar(0, before, top, "before", 7) + charts.bar(0, after, top, "after", 7)
    value = f"{size(before)} → {size(after)}" + (f" ({ratio(before, after)})" if before and after else "")
    return Row(short(layer.name, 40), layer.name, bars, value)


def _chart_note(layers: Sequence[Layer]) -> str:
    return f"The {CHARTED} largest of {len(layers):,} weights." if len(layers) > CHARTED else ""


def _block_charts(layers: Sequence[Layer]) -> list[dict[str, object]]:
    there = [layer for layer in layers if layer.before or layer.after]
    bits, zeros = [], []
    for layer in there:
        sides = [side for side in (layer.before, layer.after) if side is not None]
        a, b = layer.before, layer.after
        width, name = float(sides[0].elements), short(layer.name, NAME)
        bits.append(
            charts.Block(
                f"{name}: {_both(layer, lambda side: side.bits, '{:.2f}')} bits",
                width, a.bits if a else 0, b.bits if b else 0,
            )
        )  # fmt: skip
        zeros.append(
            charts.Block(
                f"{name}: {_both(layer, lambda side: 100 * side.zeros, '{:.1f}')} % zeros",
                width, 0, 100 * b.zeros if b else 0,
            )
        )  # fmt: skip
    top = max((max(b.before, b.after) for b in bits), default=1)
    drawn = [_blocks("Stored bits a weight", bits, top, "")]
    if any(block.after > 0 for block in zeros):
        drawn.append(_blocks("Zero weights after compression", zeros, 100.0, " %"))
    return drawn


def _both(layer: Layer, value: Callable[[Side], float], form: str) -> str:
    """A value before and after, in words."""
    return " → ".join("–" if side is None else form.format(value(side)) for side in (layer.before, layer.after))


def _blocks(title: str, items: Sequence[charts.Block], top: float, unit: str) -> dict[str, object]:
    marks = [8.0 * i for i in range(int(top / 8) + 1)] if top >= 32 and not unit else charts.ticks(top)
    ticks = [{"at": charts.at(tick / top), "text": f"{tick:g}{unit}"} for tick in marks]
    return {"title": title, "ticks": ticks, "svg": charts.blocks(items, top, 160, title)}


def _widest(largest: Sequence[Layer]) -> str:
    total = sum(nbytes(layer.before) for layer in largest) or 1
    return ", ".join(
        f"{short(layer.name, 40)} ({percent(nbytes(layer.before) / total, 0)})" for layer in largest[:3] if layer.before
    )


def _card(layer: Layer) -> dict[str, object]:
    zeros = f"zeros {_both(layer, lambda side: 100 * side.zeros, '{:.1f}')} %"
    return {
        "title": layer.name,
        "label": short(layer.name, 32),
        "svg": _mirror(layer),
        "range": f"±{_both(layer, lambda side: side.reach, '{:.2g}')}",
        "line": f"{_both(layer, lambda side: side.bits, '{:.1f}')} bits, {zeros}",
    }


def _mirror(layer: Layer) -> Markup:
    sides = [() if side is None else side.histogram for side in (layer.before, layer.after)]
    return charts.mirror(sides[0], sides[1], f"values of {short(layer.name, NAME)} before and after")


def _kept(found: Comparison) -> list[str]:
    """What stayed dense, in numbers: by size, since what a pass refused by choice is in its notes."""
    dense = [layer for layer in found.layers if layer.after is not None and layer.after.encoding == layer.after.dtype]
    if not dense or len(dense) == len(found.layers):
        return []
    total = sum(nbytes(layer.after) for layer in dense)
    kinds = Counter(layer.op_type or "nothing" for layer in dense).most_common(4)
    return [
        f"{len(dense):,} of {len(found.layers):,} weights stay dense, {size(total)} together: most feed "
        f"{', '.join(f'{kind} ({count:,})' for kind, count in kinds)}. Small tensors, biases and factors of "
        "normalisations are kept exact, and packing must pay for its own overhead."
    ]


COLUMNS = ("weight", "feeds", "shape", "stored as", "before", "after", "ratio", "bits", "zeros", "error", "values")


def _table(layers: Sequence[Layer]) -> tuple[list[dict[str, object]], list[list[Cell]]]:
    numeric = {"before", "after", "ratio", "bits", "zeros", "error"}
    columns: list[dict[str, object]] = [
        {"name": name, "numeric": name in numeric, "sorted": name == "before"} for name in COLUMNS
    ]
    return columns, [_cells(layer, number < SKETCHED) for number, layer in enumerate(layers[:LISTED])]


def _cells(layer: Layer, sketched: bool) -> list[Cell]:
    a, b = layer.before, layer.after
    shape = "×".join(map(str, (a or b).shape)) if a or b else ""  # type: ignore[union-attr]
    if a and b and a.shape != b.shape:
        shape += " → " + "×".join(map(str, b.shape))
    return [
        Cell(short(layer.name, 48), None, layer.name[-1000:] if len(layer.name) > 48 else ""),
        Cell(short(layer.op_type, 24)),
        Cell(shape),
        Cell(b.encoding if b else "folded away"),
        Cell(size(a.nbytes) if a else "–", a.nbytes if a else -1),
        Cell(size(b.nbytes) if b else "–", b.nbytes if b else -1),
        Cell(ratio(a.nbytes, b.nbytes) if a and b else "–", round(a.nbytes / b.nbytes, 3) if a and b else -1),
        Cell(f"{b.bits:.2f}" if b else "–", round(b.bits, 3) if b else -1),
        Cell(percent(b.zeros) if b else "–", round(b.zeros, 4) if b else -1),
        Cell("–" if layer.error is None else error(layer.error), -1 if layer.error is None else round(layer.error, 6)),
        Cell(_mirror(layer) if sketched else ""),
    ]


def _table_note(layers: Sequence[Layer]) -> str:
    shown = f"The {LISTED:,} largest of {len(layers):,}. " if len(layers) > LISTED else ""
    return (
        f"{shown}Weights of 64 elements or more. Bits and zeros are those after compression; the error is that of the "
        "values, apart from one factor a channel, which folding changes."
    )
