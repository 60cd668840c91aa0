"""Which outputs of a model are scores over classes, and along which axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from onnxsqueeze.model import Model, roles
from onnxsqueeze.model.graphs import Edges, Scope, edges
from onnxsqueeze.model.opset import opset

Array = npt.NDArray[Any]

THROUGH = ("Identity", "Cast", "Dropout", "Squeeze", "Unsqueeze", "Reshape")
LOGITS = ("Gemm", "MatMul", "FusedGemm", "FusedMatMul")
MOST_CLASSES = 1 << 20


def class_axes(model: Model) -> dict[str, int]:
    """The class axis of each output that a Softmax makes, or a product with constant weights (logits)."""
    wiring = edges(model.proto)
    main = wiring.scopes[0]
    found = {}
    for value in model.proto.graph.output:
        node = _maker(wiring, main, value.name)
        axis = None if node is None else _axis(wiring, main, node, opset(model.proto))
        if axis is not None:
            found[value.name] = axis
    return found


def _maker(wiring: Edges, scope: Scope, name: str) -> NodeProto | None:
    """The node that makes a value of the main graph, behind those that only move it."""
    for _ in range(16):
        node = wiring.producers.get((scope.index, name))
        if node is None or node.op_type not in THROUGH:
            return node
        name = node.input[0]
    return None


def _axis(wiring: Edges, scope: Scope, node: NodeProto, version: int) -> int | None:
    if node.op_type in ("Softmax", "LogSoftmax"):
        return roles.integer(node, "axis", -1 if version >= 13 else 1) if version >= 13 else -1
    if node.op_type in ("Add", "Sub"):
        keys = [wiring.key(scope, name) for name in node.input]
        others = [k for k in keys if k is not None and k not in wiring.constants]
        maker = wiring.producers.get(others[0]) if len(others) == 1 < len(keys) else None
        return None if maker is None or maker.op_type not in LOGITS else _axis(wiring, scope, maker, version)
    if node.op_type in LOGITS and wiring.key(scope, node.input[1]) in wiring.constants:
        return -1
    return None


def is_distribution(values: Sequence[Array]) -> bool:
    """Whether all values are probabilities that add up to 1 along the last axis."""
    return all(
        v.ndim >= 1
        and 2 <= v.shape[-1] <= MOST_CLASSES
        and v.size > 0
        and bool((v >= 0).all())
        and bool(np.allclose(v.sum(axis=-1), 1, atol=1e-3))
        for v in values
    )
