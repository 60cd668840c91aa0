"""Charts as inline SVG, x in percent: a chart fits any width, and its text keeps its size."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def element(name: str, *children: str | Markup, **attributes: object) -> Markup:
    """An SVG element; text and values of attributes are escaped, ``_`` in the attributes' names stands for ``-``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(map(escape, children))}</{name}>")


def picture(kind: str, label: str, *shapes: str | Markup, **attributes: object) -> Markup:
    """A chart: a drawing of a class, which is read out as ``label``."""
    return element("svg", *shapes, class_=kind, role="img", aria_label=label, **attributes)


def stretched(width: int, height: float) -> dict[str, str]:
    """Attributes of a drawing in units of its own, which fills its place in both directions."""
    return {"viewBox": f"0 0 {width} {number(height)}", "preserveAspectRatio": "none"}


def at(share: float) -> str:
    """A fraction of the width as a coordinate."""
    return f"{100 * share:.2f}%"


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Bar:
    """One bar of a waterfall, from ``start`` to ``end`` in the chart's unit."""

    label: str
    start: float
    end: float
    kind: str  # class: saved, added


def bar(start: float, end: float, top: float, kind: str, height: int = 12) -> Markup:
    """A drawing as wide as its place that holds one bar from ``start`` to ``end``, both fractions of ``top``."""
    low, high = sorted((start / top, end / top)) if top else (0.0, 0.0)
    rect = element("rect", x=at(low), width=at(max(high - low, 0.002)), height="100%", rx=2, class_=kind)
    return element("svg", rect, class_="bar", height=height, width="100%", aria_hidden="true")


def steps(labels: Sequence[tuple[str, int]], first: int) -> Iterator[Bar]:
    """The bars of a waterfall from ``first``: each starts where the one before it ended."""
    position = first
    for label, change in labels:
        yield Bar(label, position, position + change, "saved" if change <= 0 else "added")
        position += change


def outline(counts: Sequence[int], height: float, up: bool) -> str:
    """The path of a histogram, one unit wide a bin, scaled to its tallest; above or below the line at ``height``."""
    top = max(counts, default=0) or 1
    path, before = [f"M0 {number(height)}"], height
    for count in counts:
        y = height - height * count / top if up else height + height * count / top
        if number(y) != number(before):
            path.append(f"V{number(y)}")
            before = y
        path.append("h1")
    path.append(f"V{number(height)}z")
    return re.sub(r"(?:h1)+", lambda run: f"h{len(run[0]) // 2}", "".join(path))


def mirror(before: Sequence[int], after: Sequence[int], label: str, height: float = 20) -> Markup:
    """Two histograms of one range: the first upwards, the second downwards."""
    shapes = [
        element("path", d=outline(counts, height, up), class_=kind)
        for counts, up, kind in ((before, True, "before"), (after, False, "after"))
        if counts
    ]
    return picture("mirror", label, *shapes, **stretched(max(len(before), len(after)), 2 * height))


@dataclass(frozen=True)
class Block:
    """One layer in a chart whose widths are numbers of weights."""

    title: str
    width: float
    before: float
    after: float


def blocks(items: Sequence[Block], top: float, height: int, label: str, unit: str) -> Markup:
    """Layers side by side, each as wide as its number of weights: heights before behind heights after."""
    total = sum(item.width for item in items) or 1
    shapes, x = [], 0.0
    for item in items:
        width = 1000 * item.width / total
        heights = [f"{h:.3g}" for h in (item.before, item.after) if h > 0]
        title = element("title", f"{item.title}: {' → '.join(heights) or 0}{unit}")
        pair = [
            element("rect", x=f"{x:.2f}", y=number(height * (1 - h / top)), width=f"{width:.2f}",
                    height=number(height * h / top), class_=kind)
            for h, kind in ((item.before, "before"), (item.after, "after"))
            if h > 0
        ]  # fmt: skip
        shapes.append(element("g", title, *pair))
        x += width
    return picture("blocks", label, *shapes, **stretched(1000, height), height=height, width="100%")


@dataclass(frozen=True)
class Dot:
    """One point of a scatter plot, both coordinates as fractions of the axes."""

    x: float
    y: float
    kind: str  # class: other, front, knee
    title: str
    label: str = ""


def scatter(
    dots: Sequence[Dot], steps_through: Sequence[Dot], grid: Sequence[float], height: int, label: str
) -> Markup:
    """Points, those drawn last on top; a falling staircase through some of them; lines at the heights ``grid``."""
    lines = [element("line", x1="0", x2="100%", y1=number(height * (1 - y)), y2=number(height * (1 - y))) for y in grid]
    shapes = []
    for dot in dots:
        y = height * (1 - dot.y)
        circle = element("circle", element("title", dot.title), cx=at(dot.x), cy=number(y),
                         r=4 if dot.kind == "other" else 5 if dot.kind == "front" else 8, class_=dot.kind)  # fmt: skip
        shapes.append(circle)
        if dot.label:
            left = dot.x > 0.5
            shapes.append(
                element("text", dot.label, x=at(dot.x), y=number(max(y - 14, 12)), dx=-6 if left else 6,
                        text_anchor="end" if left else "start")
            )  # fmt: skip
    path = "".join(
        f"{'M' if i == 0 else 'H'}{number(1000 * dot.x)}{' ' if i == 0 else 'V'}{number(height * (1 - dot.y))}"
        for i, dot in enumerate(steps_through)
    )
    stairs = [element("svg", element("path", d=path), **stretched(1000, height), overflow="visible")] if path else []
    return picture("scatter", label, *lines, *stairs, *shapes, width="100%", height=height)


@dataclass(frozen=True)
class Line:
    """One line of a plot, its points as fractions of the axes."""

    points: Sequence[tuple[float, float]]
    kind: str  # class
    title: str


def lines(items: Sequence[Line], grid: Sequence[float], height: int, label: str) -> Markup:
    """Lines through points, those drawn last on top; rules at the heights ``grid``."""
    rules = [element("line", x1="0", x2="100%", y1=number(height * (1 - y)), y2=number(height * (1 - y))) for y in grid]
    paths = []
    for item in items:
        places = "L".join(f"{number(1000 * x)} {number(height * (1 - y))}" for x, y in item.points)
        paths.append(element("path", element("title", item.title), d=f"M{places}", class_=item.kind))
    drawn = element("svg", *paths, viewBox=f"0 0 1000 {height}", preserveAspectRatio="none", overflow="visible")
    return element("svg", *rules, drawn, class_="scatter lines", width="100%", height=height, role="img",
                   aria_label=label)  # fmt: skip


def ticks(top: float, count: int = 4) -> list[float]:
    """Round numbers from 0 up to ``top``, about ``count`` of them."""
    if not top > 0:
        return [0.0]
    rough = top / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [step * i for i in range(int(top / step + 1e-9) + 1)]
