"""Which outputs of a model are scores over classes, and along which axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto
from scipy.special import softmax

from onnxsqueeze.model import Model, roles
from onnxsqueeze.model.graphs import Edges, Scope, Site, edges
from onnxsqueeze.model.opset import opset

Array = npt.NDArray[Any]

THROUGH = ("Identity", "Cast", "Dropout", "Squeeze", "Unsqueeze", "Reshape")
LOGITS = ("Gemm", "MatMul", "FusedGemm", "FusedMatMul")
STATED = ("Softmax", "LogSoftmax", "Sigmoid")  # what says of an output that it is a distribution
MOST_CLASSES = 1 << 20


def class_axes(model: Model) -> dict[str, int]:
    """The class axis of each output that a Softmax makes, or a product with constant weights (logits).

    Where another output says outright that it is a distribution (Softmax, LogSoftmax, Sigmoid), a product without one
    of its own is no decision: such heads give boxes, offsets and landmarks.
    """
    wiring = edges(model.proto)
    main = wiring.scopes[0]
    makers = {value.name: _maker(wiring, main, value.name) for value in model.proto.graph.output}
    stated = [node for node in makers.values() if node is not None and node.op_type in STATED]
    behind = [_maker(wiring, main, node.input[0]) for node in stated]
    found = {}
    for name, node in makers.items():
        axis = None if node is None else _axis(wiring, main, node, opset(model.proto))
        if axis is not None and (not stated or any(node is other for other in (*stated, *behind))):
            found[name] = axis
    return found


def decided(names: Sequence[str], axes: Mapping[str, int], run: Sequence[Array]) -> dict[str, int]:
    """The class axes that stay where other outputs turn out to be distributions, as in ``class_axes``.

    ``run``: values of each output. Logits stay that an output is the softmax of.
    """
    values = {name: v for name, v in zip(names, run, strict=True) if np.issubdtype(v.dtype, np.floating)}
    others = [v for name, v in values.items() if name not in axes and is_distribution([v])]
    known = {name: axis for name, axis in axes.items() if name in values}
    return {name: axis for name, axis in known.items() if not others or _is_own(values[name], axis, others)}


def _is_own(values: Array, axis: int, distributions: Sequence[Array]) -> bool:
    """Whether values are probabilities, or their logarithms, or logits behind one of some distributions."""
    if not -values.ndim <= axis < values.ndim:
        return False
    scores = np.moveaxis(values, axis, -1).astype(np.float64)
    if is_distribution([scores]) or is_distribution([np.exp(np.minimum(scores, 1))]):
        return True
    shares = softmax(np.moveaxis(scores, -1, axis), axis=axis)
    return any(d.shape == shares.shape and np.allclose(d, shares, atol=1e-3) for d in distributions)


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
    key = wiring.key(scope, node.input[1]) if node.op_type in LOGITS else None
    weight = wiring.constants.get(key) if key else None
    if weight is None:
        return None
    channel = roles.role(Site(scope, node, 1), len(weight.dims)).channel
    return -1 if channel is not None and weight.dims[channel] > 1 else None


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
