"""Lowering: annotated weights become decode nodes; the one place where a model stops being dense."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxsqueeze.encode import Encoded, Note, plans, smallest
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.nodes import to_node
from onnxsqueeze.errors import PassError
from onnxsqueeze.pipeline.functions import IMPOSSIBLE, choose

if TYPE_CHECKING:
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline.context import Context

OPSET = 13  # the oldest that the bodies are written in
SETTLED_FROM = 1 << 20  # bytes of an encoded weight from which on the size of functions does not matter


@dataclass(frozen=True)
class Packed:
    """One weight as it lies in the file."""

    name: str
    role: str
    shape: tuple[int, ...]
    encoding: str  # "" where it stays dense
    dense_nbytes: int
    nbytes: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def lower(model: Model, context: Context) -> list[Packed]:
    """Replaces every weight that has a smaller encoding by a decode node; returns one row a weight."""
    model.raise_opset(OPSET)  # where that fails, runtimes still take functions of a later opset
    opset = max(OPSET, model.opset)
    encodings = _encodings(model, opset, context)
    if fixed := [v.name for v in model.proto.graph.input if v.name in encodings]:
        inputs = f"input '{fixed[0]}'" + (f" and {len(fixed) - 1} more" if len(fixed) > 1 else "")
        context.notes(f"{inputs} had a weight as default value that is packed now: it can no longer be fed")
    rows: list[Packed] = []
    for weight in model.weights():
        encoded = encodings.get(weight.name)
        if encoded is not None:
            node, initializers = to_node(encoded, weight.name, f"{len(rows)}.")
            model.replace_by_node(weight, node, initializers)
        kind, nbytes = (encoded.op_type, encoded.nbytes) if encoded else ("", weight.nbytes)
        rows.append(Packed(weight.name, weight.role, weight.shape, kind, weight.nbytes, nbytes))
    kinds = sorted({row.encoding for row in rows if row.encoding})
    if kinds:
        model.raise_ir(8)
        model.proto.functions.extend(function(kind, opset) for kind in kinds)
        model.proto.opset_import.add(domain=DOMAIN, version=VERSION)
    return rows


def _encodings(model: Model, opset: int, context: Context) -> dict[str, Encoded]:
    """The encoding of each weight that has one, chosen so that weights and decode functions together are small."""
    weights = {w.name: w for w in model.weights()}
    found = _encode({name: "" for name in weights}, weights, context)
    chosen = _chosen(found, weights, opset, context)
    changed = {name: kind for name, kind in chosen.items() if kind and kind != found[name].op_type}
    kept = {name: e for name, e in found.items() if chosen[name] == e.op_type}
    return kept | _encode(changed, weights, context)


def _encode(kinds: dict[str, str], weights: dict[str, Weight], context: Context) -> dict[str, Encoded]:
    """Encodes weights by the operators given, or the smallest, each decoded again and compared bit for bit."""

    def encode(name: str) -> Encoded | None:
        values, note, kind = weights[name].values(), weights[name].note or Note(), kinds[name]
        encoded = plans(values, note, [kind])[kind].build() if kind else smallest(values, note)
        if encoded is not None and decode(encoded).tobytes() != values.tobytes():
            raise PassError(f"weight '{name}' does not come back from {encoded.op_type}; please report this")
        return encoded

    results = context.each("encode", encode, kinds, str)
    return {name: encoded for name, encoded in zip(kinds, results, strict=True) if encoded is not None}


def _chosen(found: dict[str, Encoded], weights: dict[str, Weight], opset: int, context: Context) -> dict[str, str]:
    """The operator of each weight: its smallest, another that shares a function, or "" for dense."""
    first = sorted({encoded.op_type for encoded in found.values()})

    def sizes(name: str) -> dict[str, int]:
        own = found[name]
        if own.nbytes >= SETTLED_FROM:
            return {own.op_type: own.nbytes}
        weight = weights[name]
        return {k: p.nbytes for k, p in plans(weight.values(), weight.note or Note(), first).items()} | {
            own.op_type: own.nbytes
        }

    rows = list(context.each("choose", sizes, found, str))
    kinds = ["", *sorted(set().union(*rows))]
    costs = np.full((len(rows), len(kinds)), IMPOSSIBLE, np.int64)
    for row, (name, known) in enumerate(zip(found, rows, strict=True)):
        costs[row, 0] = weights[name].nbytes
        for kind, nbytes in known.items():
            costs[row, kinds.index(kind)] = nbytes
    functions = np.array([function(kind, opset).ByteSize() + 4 if kind else 0 for kind in kinds], np.int64)
    starts = [np.array([k in first for k in kinds]), np.array([not k or k not in first for k in kinds])]
    picked = choose(costs, functions, starts)
    return {name: kinds[index] for name, index in zip(found, picked, strict=True)}
