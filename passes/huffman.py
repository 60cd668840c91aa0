"""Huffman coding of what is stored: indices and distances (Han, Mao and Dally 2016, section 4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnxsqueeze.encode import Note, best_plan
from onnxsqueeze.passes.bounds import in_range

if TYPE_CHECKING:
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline import Context


@dataclass(frozen=True)
class Huffman:
    """Lossless: entropy-codes each tensor where that makes it smaller, within what loading the file may cost.

    A runtime without our library decodes at load with standard operators: `nodes` bounds how many of them the whole
    model may have, `memory` the megabytes that decoding may take on top. The tensors that save most come first.
    """

    nodes: int = 8000
    memory: int = 2500

    def __post_init__(self) -> None:
        in_range("nodes", self.nodes, 0, None)
        in_range("memory", self.memory, 0, None)

    def __call__(self, model: Model, context: Context) -> int:
        weights = model.weights()
        found = context.each("huffman", _gain, weights, lambda w: w.name)
        gains = [(gain, weight) for gain, weight in zip(found, weights, strict=True) if gain is not None]
        gains.sort(key=lambda g: (-g[0].saved / g[0].load_nodes, g[1].name))
        nodes, memory, changed = self.nodes, self.memory * 1_000_000, 0
        for gain, weight in gains:
            if gain.load_nodes <= nodes and gain.load_bytes <= memory:
                nodes, memory = nodes - gain.load_nodes, memory - gain.load_bytes
                weight.note = replace(weight.note or Note(), entropy=True)
                changed += 1
        if changed < len(gains):
            context.notes(
                f"{len(gains) - changed} tensors stay without Huffman coding: more would take over {self.nodes} nodes "
                f"or {self.memory} MB at load (options nodes and memory of huffman)"
            )
        return changed


@dataclass(frozen=True)
class _Gain:
    """What Huffman coding saves on one weight, in bytes, and what it costs at load."""

    saved: int
    load_nodes: int
    load_bytes: int


def _gain(weight: Weight) -> _Gain | None:
    values, note = weight.values(), weight.note or Note()
    plain = best_plan(values, replace(note, entropy=False))
    coded = best_plan(values, replace(note, entropy=True))
    if coded is None or not coded.load_nodes:
        return None
    saved = min(values.nbytes, plain.nbytes if plain else values.nbytes) - coded.nbytes
    return _Gain(saved, coded.load_nodes, coded.load_bytes) if saved > 0 else None
