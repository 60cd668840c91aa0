"""A sensitivity analysis in the terminal, as facts, and in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from onnxsqueeze.report.tables import count, visible
from onnxsqueeze.report.units import percent, short

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.sensitivity import Layer, Sensitivity

LIMIT = 0.01  # of the loss, up to which a weight is said to bear a change
LISTED, NAME = 24, 26  # weights in the terminal, and characters of their names
HEAT = ((0.5, "bold red"), (0.1, "red"), (LIMIT, "yellow"), (0.0005, ""), (-1.0, "bright_black"))
MEASURES = {"decisions": "decisions changed", "variance": "variance unexplained", "score": "score lost"}


def facts(found: Sensitivity) -> dict[str, Any]:
    """The analysis, ready for JSON."""
    told = dataclasses.asdict(found)
    told["limit"] = LIMIT
    for layer, of in zip(told["layers"], found.layers, strict=True):
        layer |= {
            "sensitivity": of.sensitivity,
            "most_zeros_within_limit": of.most_zeros(LIMIT),
            "fewest_bits_within_limit": of.fewest_bits(LIMIT),
        }
    return told


def about(found: Sensitivity) -> str:
    """What was measured, and on what, in one line."""
    kinds = dict.fromkeys(MEASURES[kind] for _, kind in found.measures)
    fitted = f", {count(found.fitted, 'sample')} told what flows into the weights" if found.fitted else ""
    return (
        f"Loss: {' or '.join(kinds) or 'none'}, the worst output's, on {count(found.measured, 'sample')} "
        f"({found.data}){fitted}"
    )


def cell_text(loss: float) -> str:
    """A loss in per cent, in four characters at most."""
    value = 100 * loss
    if value < 0.05:
        return "0"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}" if value < 99.5 else "100"


def bits_text(bits: float | None) -> str:
    """Bits within the limit."""
    return "> 8" if bits is None else f"{bits:g}"


def distinct(layers: Sequence[Layer], length: int) -> list[str]:
    """Names of weights that fit, by their ends."""
    return [short(layer.weight, length) for layer in layers]


def show(found: Sensitivity, console: Console) -> None:
    """The most sensitive weights, and what was measured."""
    first = found.layers[0]
    made = Table(title="Loss in per cent as one weight alone changes: zeros, then bits a weight", box=box.SIMPLE_HEAD,
                 title_justify="left", padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")  # fmt: skip
    made.add_column("weight", overflow="fold")
    made.add_column("feeds")
    zeros = [percent(p.value, 0).replace(" ", "") for p in first.sparsity[1:]]
    for name in (*zeros, *(f"{p.value:g}b" for p in first.bits[::-1])):
        made.add_column(name, justify="right", no_wrap=True)
    for layer in found.layers[:LISTED]:
        losses = [p.loss for p in (*layer.sparsity[1:], *layer.bits[::-1])]
        names = (Text(visible(short(text, size))) for text, size in ((layer.weight, NAME), (layer.op_type, 8)))
        made.add_row(*names, *map(_heated, losses))
    console.print(made)
    if len(found.layers) > LISTED:
        console.print(f"… and {len(found.layers) - LISTED:,} less sensitive ones; --html and --json list them")
    for note in found.notes:
        console.print(f"note: {visible(note)}", soft_wrap=True)
    console.print(visible(about(found)), soft_wrap=True)
    tolerant = sum(layer.most_zeros(LIMIT) >= 0.5 for layer in found.layers)
    console.print(
        visible(
            f"{found.source}: {count(len(found.layers), 'weight')} tried in {found.seconds:.1f} s; {tolerant:,} bear "
            f"50 % zeros alone within {percent(LIMIT, 0)}; the most sensitive is {short(first.weight, 100)}"
        ),
        soft_wrap=True,
    )


def _heated(loss: float) -> Text:
    return Text(cell_text(loss), next(style for least, style in HEAT if loss >= least))
