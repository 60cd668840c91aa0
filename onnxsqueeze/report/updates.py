"""What an over-the-air update saves, as tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsqueeze.report.tables import table, visible
from onnxsqueeze.report.units import metric, percent, ratio, size

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.ota import Report

LISTED = 20  # tensors


def show(found: Report, console: Console) -> None:
    """Bytes, links, fleet, app stores and tensors."""
    full = found.ways[0].nbytes
    bills = {bill.way: bill for bill in found.bills}
    rows = []
    for way in found.ways:
        bill = bills[way.name]
        price = [] if bill.price is None else [f"{bill.price:,.2f}"]
        rows.append([way.name, f"{way.nbytes:,}", ratio(full, way.nbytes), size(bill.gigabytes * 1e9), *price])
    priced = ["price"] if found.bills[0].price is not None else []
    console.print(table("To send", ["", "bytes", "smaller", f"fleet of {found.fleet:,}", *priced], rows))
    costs = {(cost.link, cost.way): cost for cost in found.costs}
    names = [way.name for way in found.ways]
    lines = []
    for link in found.links:
        cells = [costs[link.name, name] for name in names]
        energies = [metric(cell.joules, "J") for cell in cells]
        lines.append([link.name, link.description, *(_duration(cell.seconds) for cell in cells), *energies])
    heads = [*(f"{name}: time" for name in names), *(f"{name}: energy" for name in names)]
    console.print(table("On each link, for one device", ["link", "", *heads], lines, left=2))
    _show_limits(found, console)
    _show_changes(found, console)


def _show_limits(found: Report, console: Console) -> None:
    sizes = [way.nbytes for way in found.ways]
    rows = [
        [limit.what, size(limit.nbytes), *(percent(n / limit.nbytes) if n <= limit.nbytes else "over" for n in sizes)]
        for limit in found.limits
    ]
    console.print(table("Of what app stores allow", ["", "limit", *(way.name for way in found.ways)], rows))


def _show_changes(found: Report, console: Console) -> None:
    changed = sorted((c for c in found.changes if c.status != "unchanged"), key=lambda c: -c.nbytes)
    same = len(found.changes) - len(changed)
    rows = [
        [
            change.name or "(unnamed)",
            change.status,
            "x".join(map(str, change.shape)),
            size(change.nbytes),
            "-" if change.share is None else percent(change.share),
            "-" if change.distance is None else f"{change.distance:.3g}",
        ]
        for change in changed[:LISTED]
    ]
    if rows:
        heads = ["tensor", "", "shape", "bytes", "elements changed", "distance"]
        console.print(table("What changed", heads, rows, left=3))
    more = f", {len(changed) - LISTED} more in --json" if len(changed) > LISTED else ""
    text = f"{len(changed)} tensors changed{more}; {same} unchanged"
    console.print(visible(text), markup=False, highlight=False)


def _duration(seconds: float) -> str:
    """Seconds, minutes, hours or days."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return metric(seconds, "s")
