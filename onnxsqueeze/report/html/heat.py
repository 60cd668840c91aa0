"""The page of a sensitivity analysis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxsqueeze.report.html import charts
from onnxsqueeze.report.html.template import render
from onnxsqueeze.report.sensitivity import LIMIT, about, bits_text, cell_text, distinct
from onnxsqueeze.report.units import percent, short

if TYPE_CHECKING:
    from onnxsqueeze.sensitivity import Layer, Point, Sensitivity

HEIGHT = 240  # of a plot, in pixels
COLOURED, DRAWN, LISTED = 5, 200, 800  # weights in colour, in plots, and in the table
WARMEST = 55  # per cent of colour in a cell of a loss of 100 %
TICKS = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
NAME, TITLE = 60, 300


@dataclass(frozen=True)
class Cell:
    """One number of the table; ``heat``: how warm its colour is, in per cent."""

    text: str
    value: float
    heat: float | None = None


def page(found: Sensitivity) -> str:
    """The whole page as HTML."""
    layers = found.layers
    zeros, bits = layers[0].sparsity, layers[0].bits[::-1]
    return render(
        "heat.html",
        kind="sensitivity",
        title=f"sensitivity of {short(found.source, 100)}",
        found=found,
        about=about(found),
        tiles=_tiles(found),
        charts=[
            _chart("Share of zeros", [layer.sparsity for layer in layers], [percent(p.value, 0) for p in zeros]),
            _chart("Bits a weight", [layer.bits[::-1] for layer in layers], [f"{p.value:g}" for p in bits]),
        ],
        left=[{"at": charts.at(math.sqrt(y)), "text": f"{100 * y:g} %"} for y in TICKS],
        legend=[{"kind": f"c{i}", "name": short(name, 100)} for i, name in enumerate(distinct(layers, 100)[:COLOURED])],
        table_note=_table_note(found),
        limit=percent(LIMIT, 0),
        columns=_columns(layers[0]),
        rows=[_row(layer) for layer in layers[:LISTED]],
    )


def _tiles(found: Sensitivity) -> list[dict[str, str]]:
    first, last = found.layers[0], found.layers[-1]
    tolerant = sum(layer.most_zeros(LIMIT) >= 0.5 for layer in found.layers)
    points = len(first.sparsity) + len(first.bits)

    def tile(label: str, big: str, line: str) -> dict[str, str]:
        return {"label": label, "big": big, "line": line}

    return [
        tile("Weights tried", f"{len(found.layers):,}", f"{points} times each"),
        tile("Most sensitive", f"{cell_text(first.sensitivity)} %", f"mean loss of {short(first.weight, 60)}"),
        tile("Least sensitive", f"{cell_text(last.sensitivity)} %", f"mean loss of {short(last.weight, 60)}"),
        tile("Bear 50 % zeros", f"{tolerant:,}", f"weights, each alone, within {percent(LIMIT, 0)}"),
    ]


def _chart(title: str, curves: Sequence[Sequence[Point]], labels: Sequence[str]) -> dict[str, Any]:
    """One line a weight; the first ones in colour, on top."""
    drawn = []
    for number, points in reversed(list(enumerate(curves[:DRAWN]))):
        last = len(points) - 1
        places = [(_along(i, last), math.sqrt(min(max(p.loss, 0.0), 1.0))) for i, p in enumerate(points)]
        kind = f"c{number}" if number < COLOURED else "other"
        drawn.append(charts.Line(places, kind, f"{number + 1}."))
    marks = [{"at": charts.at(_along(i, len(labels) - 1)), "text": text} for i, text in enumerate(labels)]
    svg = charts.lines(drawn, [math.sqrt(y) for y in TICKS], HEIGHT, f"loss over {title.lower()}")
    return {"title": title, "svg": svg, "bottom": marks}


def _along(i: int, last: int) -> float:
    """The place of a point on the axis below; the first and the last label need some room."""
    return 0.02 + 0.94 * i / last


def _columns(layer: Layer) -> list[str]:
    return [*(percent(p.value, 0) for p in layer.sparsity[1:]), *(f"{p.value:g} bit" for p in layer.bits[::-1])]


def _row(layer: Layer) -> dict[str, Any]:
    bits = layer.fewest_bits(LIMIT)
    cells = [
        Cell(f"{layer.size:,}", layer.size),
        _loss(layer.sensitivity),
        Cell(percent(layer.most_zeros(LIMIT), 0), layer.most_zeros(LIMIT)),
        Cell(bits_text(bits), 32 if bits is None else bits),
        *(_loss(point.loss) for point in (*layer.sparsity[1:], *layer.bits[::-1])),
    ]
    title = short(layer.weight, TITLE) if len(layer.weight) > NAME else ""
    return {"name": short(layer.weight, NAME), "title": title, "feeds": short(layer.op_type, 24), "cells": cells}


def _loss(value: float) -> Cell:
    share = min(max(value, 0.0), 1.0)
    return Cell(cell_text(value), float(f"{value:.4g}"), round(WARMEST * math.sqrt(share), 1))


def _table_note(found: Sensitivity) -> str:
    shown = f"The {LISTED:,} most sensitive of {len(found.layers):,}. " if len(found.layers) > LISTED else ""
    obs = any(layer.criterion == "obs" for layer in found.layers)
    how = "what is left making up for it where samples tell how" if obs else "the smallest going first"
    return (
        f"{shown}Losses in per cent, each weight changed alone: so much of it set to zero, {how}; or put on the finest "
        "grid that holds at most so many bits of entropy a weight."
    )
