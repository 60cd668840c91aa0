"""Lowering: annotated weights become decode nodes; the one place where a model stops being dense."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsqueeze.encode import Encoded, Note, smallest
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.nodes import to_node
from onnxsqueeze.errors import PassError

if TYPE_CHECKING:
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline.context import Context

OPSET = 13  # the oldest that the bodies are written in


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
    """The encoding of each weight that has one, after functions that cost more than they save have been given up."""
    weights = {w.name: w for w in model.weights()}
    found = _encode(list(weights.values()), True, context)
    if unpaid := _unpaid(found, weights, opset):
        plain = _encode([weights[name] for name in sorted(unpaid)], False, context)
        found = {name: e for name, e in found.items() if name not in unpaid} | plain
    while unpaid := _unpaid(found, weights, opset):
        found = {name: e for name, e in found.items() if name not in unpaid}
    return found


def _encode(weights: list[Weight], entropy: bool, context: Context) -> dict[str, Encoded]:
    """Encodes weights, each decoded again and compared bit for bit; those that stay dense are left out."""

    def encode(weight: Weight) -> Encoded | None:
        values, note = weight.values(), weight.note or Note()
        encoded = smallest(values, note if entropy else dataclasses.replace(note, entropy=False))
        if encoded is not None and decode(encoded).tobytes() != values.tobytes():
            raise PassError(f"weight '{weight.name}' does not come back from {encoded.op_type}; please report this")
        return encoded

    results = context.each("encode", encode, weights, lambda w: w.name)
    return {w.name: e for w, e in zip(weights, results, strict=True) if e is not None}


def _unpaid(found: dict[str, Encoded], weights: dict[str, Weight], opset: int) -> set[str]:
    """The weights whose decode functions are larger than what they save, all users of a function together."""
    users: dict[str, list[str]] = defaultdict(list)
    for name, encoded in found.items():
        users[encoded.op_type].append(name)
    unpaid: set[str] = set()
    for kind, names in users.items():
        saved = sum(weights[name].nbytes - found[name].nbytes for name in names)
        if saved <= function(kind, opset).ByteSize():
            unpaid.update(names)
    return unpaid
