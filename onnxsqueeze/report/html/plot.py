"""The page of a sweep."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from onnxsqueeze.report.frontier import CEILING, kinds, limits
from onnxsqueeze.report.html import charts
from onnxsqueeze.report.html.template import render
from onnxsqueeze.report.units import error, metric, short, size

if TYPE_CHECKING:
    from onnxsqueeze.sweep import Sweep

HEIGHT = 340  # of the plot, in pixels


def page(found: Sweep) -> str:
    """The whole page as HTML."""
    knee = None if found.knee is None else found.points[found.knee]
    command = "" if knee is None else shlex.join(["onnxsqueeze", found.source, "out.onnx", "--passes", knee.passes])
    return render(
        "plot.html",
        kind="sweep",
        title=f"sweep of {short(found.source, 100)}",
        found=found,
        original=size(found.original_nbytes),
        tiles=_tiles(found),
        chart=_chart(found) if found.front else None,
        command=command,
        rows=_rows(found),
    )


def _tiles(found: Sweep) -> list[dict[str, str]]:
    tiles = [{"label": "Pipelines", "big": f"{len(found.points)}", "line": f"{len(found.front)} on the front"}]
    for label, index in (("Smallest", found.front[:1]), ("Closest", found.front[-1:])):
        for point in (found.points[i] for i in index):
            line = f"{size(point.nbytes)}, outputs moved by {error(point.error or 0.0)}"
            tiles.append({"label": label, "big": f"{found.ratio(point):.2f}x", "line": line})
    if found.knee is not None:
        point = found.points[found.knee]
        line = f"{size(point.nbytes)}, outputs moved by {error(point.error or 0.0)}"
        tiles.insert(1, {"label": "Knee", "big": f"{found.ratio(point):.2f}x", "line": line})
    return tiles


def _chart(found: Sweep) -> dict[str, Any]:
    right, top = (1.04 * limit for limit in limits(found))
    dots = []
    for i, kind in kinds(found):
        point, place = found.points[i], found.points[i].place
        assert place is not None
        title = f"{point.passes}: {size(point.nbytes)}, {error(place[1])}"
        label = f"{size(point.nbytes)}, {error(place[1])}" if kind == "knee" else ""
        dots.append((i, charts.Dot(place[0] / right, min(place[1] / top, 1.0), kind, title, label)))
    by_index = dict(dots)
    left = charts.ticks(top)
    bottom = charts.ticks(right, 5)
    lines = [by_index[i] for i in found.front]
    return {
        "svg": charts.scatter([dot for _, dot in dots], lines, [y / top for y in left], HEIGHT, "size against error"),
        "left": [{"at": charts.at(y / top), "text": f"{100 * y:g} %"} for y in left],
        "bottom": [{"at": charts.at(x / right), "text": metric(x, "B")} for x in bottom],
        "capped": f", those above {100 * CEILING:g} % at the top" if limits(found)[1] >= CEILING else "",
    }


def _rows(found: Sweep) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i in sorted(range(len(found.points)), key=lambda i: (bool(found.points[i].problem), found.points[i].nbytes)):
        point = found.points[i]
        on = "failed" if point.problem else "knee" if i == found.knee else "front" if i in found.front else ""
        ratio = 0.0 if point.problem else round(found.ratio(point), 3)
        rows.append({"point": point, "on": on, "size": size(point.nbytes), "ratio": ratio})
    return rows
