"""Lowering: annotated weights become decode nodes; the one place where a model stops being dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsqueeze.encode import Encoded, Note, smallest
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.nodes import to_node

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


def lower(model: Model, context: Context) -> list[Packed]:
    """Replaces every weight that has a smaller encoding by a decode node; returns one row a weight."""
    rows: list[Packed] = []
    model.raise_opset(OPSET)  # where that fails, runtimes still take functions of a later opset
    weights = model.weights()
    packed = 0

    def encode(weight: Weight) -> Encoded | None:
        return smallest(weight.values(), weight.note or Note())

    for weight, encoded in zip(weights, context.each("encode", encode, weights, lambda w: w.name), strict=True):
        dense = weight.size * weight.dtype.itemsize
        if encoded is None:
            rows.append(Packed(weight.name, weight.role, weight.shape, "", dense, dense))
            continue
        node, initializers = to_node(encoded, weight.tensor_name, f"{packed}.")
        packed += 1
        model.replace_by_node(weight, node, initializers)
        rows.append(Packed(weight.name, weight.role, weight.shape, encoded.op_type, dense, encoded.nbytes))
    _declare(model, {row.encoding for row in rows if row.encoding})
    return rows


def _declare(model: Model, op_types: set[str]) -> None:
    """Adds the functions, the domain's version and the IR version that they need."""
    if not op_types:
        return
    model.raise_ir(8)
    opset = max(OPSET, model.opset)
    model.proto.functions.extend(function(op_type, opset) for op_type in sorted(op_types))
    model.proto.opset_import.add(domain=DOMAIN, version=VERSION)
