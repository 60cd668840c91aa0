"""A picture of dependency groups on the graph, as SVG: nodes in layers, a colour for each group."""

from __future__ import annotations

from colorsys import hls_to_rgb
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from onnxsqueeze.groups import Group, Groups
from onnxsqueeze.groups.value import Step
from onnxsqueeze.model.graphs import label

WIDE, HIGH, GAP_X, GAP_Y = 150, 34, 24, 26  # pixels of boxes and between them
MARGIN, LEGEND, ROW = 20, 560, 18
SWEEPS = 4  # of ordering the layers
STYLE = (
    "text{font:12px sans-serif;fill:#222}.small{font-size:10px;fill:#555}"
    "line{stroke:#999;stroke-width:1.2}rect.node{fill:#fff;stroke:#444}rect.node:hover{fill:#ffd}"
)


@dataclass(frozen=True)
class Box:
    """A node's place."""

    step: Step
    x: float
    y: float


def picture(groups: Groups, title: str) -> str:
    """The nodes that channels flow through, top to bottom; stripes tell the groups, grey ones cannot lose channels."""
    of_step: dict[int, list[Group]] = {}
    for group in groups:
        for number in group.steps:
            of_step.setdefault(number, []).append(group)
    steps = [step for step in groups.trace.steps if step.number in of_step]
    edges = _edges(groups, steps)
    boxes = _placed(steps, edges)
    right = max((box.x for box in boxes.values()), default=LEGEND) + WIDE + 2 * MARGIN
    bottom = max([box.y + HIGH for box in boxes.values()] + [ROW * (len(groups) + 2)]) + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right:.0f}" height="{bottom:.0f}" '
        f'viewBox="0 0 {right:.0f} {bottom:.0f}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fcfcfc"/>',
        *_legend(groups, title),
        *(_line(boxes[source], boxes[target]) for source, target in edges),
        *(part for box in boxes.values() for part in _box(box, of_step[box.step.number])),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def colour(group: Group) -> str:
    """A colour of its own for each group, by the golden angle; grey where it is blocked."""
    if not group.removable:
        return "#bbbbbb"
    parts = hls_to_rgb(group.id * 137.508 % 360 / 360, 0.55, 0.7)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _edges(groups: Groups, steps: list[Step]) -> list[tuple[int, int]]:
    """Pairs of shown nodes, the second reading what the first makes."""
    makers = {id(value): step.number for step in steps for value in step.outputs}
    found: dict[tuple[int, int], None] = {}
    for step in steps:
        for value in step.inputs:
            maker = makers.get(id(value))
            if value is not None and maker is not None and maker != step.number:
                found[maker, step.number] = None
    return list(found)


def _placed(steps: list[Step], edges: list[tuple[int, int]]) -> dict[int, Box]:
    """Layers by the longest way from the start; in each, nodes near what they read from (Sugiyama et al. 1981)."""
    before: dict[int, list[int]] = {step.number: [] for step in steps}
    for source, target in edges:
        before[target].append(source)
    layer: dict[int, int] = {}
    for step in steps:
        layer[step.number] = 1 + max((layer.get(source, -1) for source in before[step.number]), default=-1)
    rows: dict[int, list[int]] = {}
    for number, depth in layer.items():
        rows.setdefault(depth, []).append(number)
    place = {number: float(i) for row in rows.values() for i, number in enumerate(row)}
    for _ in range(SWEEPS):
        for depth in sorted(rows):
            row = sorted(rows[depth], key=lambda n: sum(place[b] for b in before[n]) / max(1, len(before[n])))
            place.update({number: float(i) for i, number in enumerate(row)})
    left = 2 * MARGIN + LEGEND
    return {
        step.number: Box(
            step,
            left + place[step.number] * (WIDE + GAP_X),
            MARGIN + layer[step.number] * (HIGH + GAP_Y),
        )
        for step in steps
    }


def _line(source: Box, target: Box) -> str:
    x1, x2 = source.x + WIDE / 2, target.x + WIDE / 2
    return f'<line x1="{x1:.0f}" y1="{source.y + HIGH:.0f}" x2="{x2:.0f}" y2="{target.y:.0f}"/>'


def _box(box: Box, groups: list[Group]) -> list[str]:
    node = box.step.node
    told = f"{node.op_type} {label(node)}\n" + "\n".join(f"group {g.id}: {g.width} units{_why(g)}" for g in groups)
    parts = [
        f'<g><title>{escape(_clean(told))}</title><rect class="node" x="{box.x:.0f}" y="{box.y:.0f}" '
        f'width="{WIDE}" height="{HIGH}" rx="4"/>'
    ]
    each = (WIDE - 2) / len(groups)
    for place, group in enumerate(groups):
        parts.append(
            f'<rect x="{box.x + 1 + place * each:.1f}" y="{box.y + HIGH - 8:.0f}" width="{each:.1f}" height="7" '
            f"fill={quoteattr(colour(group))}/>"
        )
    numbers = ", ".join(str(group.id) for group in groups[:5]) + (" …" if len(groups) > 5 else "")
    parts.append(f'<text x="{box.x + 6:.0f}" y="{box.y + 16:.0f}">{escape(_clean(node.op_type))}</text>')
    parts.append(
        f'<text class="small" x="{box.x + WIDE - 6:.0f}" y="{box.y + 16:.0f}" text-anchor="end">{numbers}</text></g>'
    )
    return parts


def _why(group: Group) -> str:
    return "" if group.blocked is None else f", blocked: {group.blocked}"


def _legend(groups: Groups, title: str) -> list[str]:
    parts = [f'<text x="{MARGIN}" y="{MARGIN + 12}" font-weight="bold">{escape(_clean(title))}</text>']
    for row, group in enumerate(groups, 2):
        y = MARGIN + row * ROW
        first = next(iter(group.of("producer") or group.members))
        text = f"{group.id}: {group.width} units of {first.tensor}{_why(group)}"
        parts.append(f'<rect x="{MARGIN}" y="{y - 10}" width="12" height="12" fill={quoteattr(colour(group))}/>')
        parts.append(
            f'<text x="{MARGIN + 18}" y="{y}"><title>{escape(_clean(text))}</title>{escape(_clean(text)[:84])}</text>'
        )
    return parts


def _clean(text: str) -> str:
    """Without characters that XML does not allow."""
    return "".join(
        c if c in "\n\t" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff") else "?"
        for c in text
    )
