"""A sweep in the terminal: a plot of size against error, and the front as a table; and as facts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.text import Text

from onnxsqueeze.report.tables import table, visible
from onnxsqueeze.report.units import error, percent, size

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.sweep import Sweep

WIDTH, HEIGHT = 64, 16  # characters of the plot
CEILING = 1.0  # relative error; points above it are drawn at the top edge
MARKS = {"other": ("·", "bright_black"), "front": ("●", "blue"), "knee": ("◆", "bold green")}


def facts(found: Sweep) -> dict[str, Any]:
    """The sweep, ready for JSON."""
    told = dataclasses.asdict(found)
    for point, of in zip(told["points"], found.points, strict=True):
        point["ratio"] = None if of.problem else found.ratio(of)
        point["file"] = of.file if of.kept else None
    return told


def kinds(found: Sweep) -> list[tuple[int, str]]:
    """The points that have a place in the plot, and as what: those that matter more come last."""
    placed = [i for i, point in enumerate(found.points) if point.place is not None]
    named = [(i, "knee" if i == found.knee else "front" if i in found.front else "other") for i in placed]
    return sorted(named, key=lambda item: list(MARKS).index(item[1]))


def limits(found: Sweep) -> tuple[float, float]:
    """The largest size and error of the plot."""
    places = [point.place for point in found.points if point.place is not None]
    return max(x for x, _ in places), min(CEILING, max(y for _, y in places)) or 1e-6


def show(found: Sweep, console: Console) -> None:
    """The plot, the front, what failed, and the knee."""
    if found.front:
        _plot(found, console)
    rows: list[tuple[object, ...]] = []
    for i in found.front:
        point = found.points[i]
        rows.append(
            (
                ("◆ " if i == found.knee else "  ") + point.passes,
                size(point.nbytes),
                f"{found.ratio(point):.2f}x",
                error(point.error or 0.0),
                "-" if point.top1 is None else percent(point.top1),
            )
        )
    columns = ["passes", "bytes", "ratio", "relative error", "same top-1"]
    console.print(table("The Pareto front: nothing tried is both smaller and closer", columns, rows))
    for point in found.points:
        if point.problem:
            console.print(visible(f"no result: {point.passes}: {point.problem}"), markup=False, highlight=False)
    _say_knee(found, console)


def _say_knee(found: Sweep, console: Console) -> None:
    tried = f"{found.source} ({size(found.original_nbytes)}): {len(found.points)} pipelines"
    tried += f", {found.reused} of them known from before" if found.reused else ""
    if found.knee is None:
        line = f"{tried}; no outputs could be compared, so there is no front"
    else:
        best = found.points[found.knee]
        line = (
            f"{tried}; the knee is {best.passes}: {size(best.nbytes)}, {found.ratio(best):.2f}x smaller, outputs moved "
            f"by {error(best.error or 0.0)} (on inputs {found.inputs})"
        )
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _plot(found: Sweep, console: Console) -> None:
    """Size to the right, relative error upwards; both from 0."""
    right, top = limits(found)
    cells: dict[tuple[int, int], str] = {}
    for i, kind in kinds(found):
        place = found.points[i].place
        assert place is not None
        column = round(place[0] / right * (WIDTH - 1))
        row = round(min(place[1] / top, 1) * (HEIGHT - 1))
        cells[row, column] = kind
    console.print(Text("Relative error of the worst output against size", style="italic"))
    for row in range(HEIGHT - 1, -1, -1):
        label = error(top * row / (HEIGHT - 1)) if row % 5 == 0 else ""
        line = Text(f"{label:>8} │")
        for column in range(WIDTH):
            mark, style = MARKS.get(cells.get((row, column), ""), (" ", ""))
            line.append(mark, style)
        console.print(line, no_wrap=True, crop=True)
    console.print(Text(" " * 9 + "└" + "─" * WIDTH), no_wrap=True, crop=True)
    ends = f"0{size(right / 2):^{WIDTH - 1 - len(size(right))}}{size(right)}"
    console.print(Text(" " * 10 + ends), no_wrap=True, crop=True)
    console.print(Text("          ◆ knee   ● front   · other"))
