"""Weights as matrices: which value a node multiplies a weight with, and the weight as [groups, outputs, inputs]."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.model import roles
from onnxsqueeze.model.graphs import Edges, Key, domain, edges
from onnxsqueeze.model.roles import Move, Reach
from onnxsqueeze.model.weights import find

if TYPE_CHECKING:
    from onnx import NodeProto

    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
PRODUCTS = ("Gemm", "MatMul", "FusedGemm", "FusedMatMul")
RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True, eq=False)
class Reading:
    """A node that multiplies a weight with a value, or picks its rows by one.

    ``kind``: conv, conv_transpose, product (the value's last axis is summed over), left (its last but one),
    recurrent, state (the node's own first output, one step late) or rows (indices).
    """

    weight: str
    shape: tuple[int, ...]  # of the constant
    moves: tuple[Move, ...]
    kind: str
    node: NodeProto
    value: Key | None  # None for state
    scope: int  # of the node
    place: int  # of the node in its graph

    @property
    def seen(self) -> tuple[int, ...]:
        """The weight's shape as the node sees it."""
        return self.moves[-1].shape if self.moves else self.shape

    @property
    def groups(self) -> int:
        """Groups of a convolution."""
        return roles.integer(self.node, "group", 1) if self.kind.startswith("conv") else 1

    @property
    def form(self) -> tuple[tuple[int, ...], str, int]:
        """Readings of equal form see a weight as the same matrix."""
        return self.seen, self.kind, self.groups

    def matrix(self, values: Array) -> Array:
        """The weight as [groups, outputs, inputs]."""
        for move in self.moves:
            values = values.reshape(move.shape) if move.order is None else values.transpose(move.order)
        matrix, _ = _matrix(values, self.kind, self.node)
        return matrix

    def restore(self, matrix: Array) -> Array:
        """From [groups, outputs, inputs] back to the constant's own shape."""
        shapes = [self.shape, *(move.shape for move in self.moves)]
        _, back = _matrix(np.broadcast_to(np.int8(0), shapes[-1]), self.kind, self.node)
        values = back(matrix)
        for move, before in zip(reversed(self.moves), reversed(shapes[:-1]), strict=True):
            values = values.reshape(before) if move.order is None else values.transpose(np.argsort(move.order))
        return np.ascontiguousarray(values)


def _matrix(values: Array, kind: str, node: NodeProto) -> tuple[Array, Callable[[Array], Array]]:
    """What a node sees as [groups, outputs, inputs], and the way back."""
    shape = values.shape
    if kind == "conv":
        groups = roles.integer(node, "group", 1)
        return values.reshape(groups, shape[0] // groups, -1), lambda m: m.reshape(shape)
    if kind == "conv_transpose":
        groups = roles.integer(node, "group", 1)
        split = (groups, shape[0] // groups, math.prod(shape[1:]))
        return values.reshape(split).transpose(0, 2, 1), lambda m: m.transpose(0, 2, 1).reshape(shape)
    if kind in ("recurrent", "state"):
        return values, lambda m: m
    flip = (kind == "product" and not transposed(node, 1)) or (kind == "left" and transposed(node, 0))
    stacked = values.reshape(-1, *shape[-2:])
    if flip:
        return stacked.transpose(0, 2, 1), lambda m: m.transpose(0, 2, 1).reshape(shape)
    return stacked, lambda m: m.reshape(shape)


def transposed(node: NodeProto, position: int) -> bool:
    """Whether a product takes this input transposed."""
    return bool(roles.integer(node, "transB" if position else "transA", 0))


def readings(model: Model, names: set[str] | None = None) -> dict[str, list[Reading]]:
    """For each weight (of ``names``, or all) the readings that see it as the same matrix as its first one does."""
    wiring = edges(model.proto)
    found: dict[str, list[Reading]] = {}
    for name, item in find(model.proto, wiring).items():
        if names is not None and name not in names:
            continue
        shape = tuple(item.tensor.dims)
        reached = roles.reach(wiring, (item.scope.index, item.local), shape)
        all_of_it = [r for reach in reached for r in _reading(wiring, name, shape, reach)]
        if all_of_it:
            found[name] = [r for r in all_of_it if r.form == all_of_it[0].form]
    return found


def _reading(wiring: Edges, name: str, shape: tuple[int, ...], reach: Reach) -> Iterator[Reading]:
    site = reach.site
    kind = _kind(site.node, site.input)
    seen = reach.moves[-1].shape if reach.moves else shape
    if kind is None or len(seen) < 2:
        return
    read = {"conv": 0, "conv_transpose": 0, "product": 0, "left": 1, "recurrent": 0, "rows": 1}.get(kind)
    value = None if read is None else wiring.key(site.scope, site.node.input[read])
    if (read is not None and value is None) or (value is not None and value in wiring.constants):
        return
    place = next(i for i, node in enumerate(site.scope.graph.node) if node is site.node)
    yield Reading(name, shape, reach.moves, kind, site.node, value, site.scope.index, place)


def _kind(node: NodeProto, position: int) -> str | None:
    if domain(node) not in ("", "com.microsoft"):
        return None
    if node.op_type in ("Conv", "FusedConv", "ConvTranspose") and position == 1:
        return "conv_transpose" if node.op_type == "ConvTranspose" else "conv"
    if node.op_type in PRODUCTS and position < 2:
        return "product" if position else "left"
    if node.op_type == "Attention" and position == 1:
        return "product"
    if node.op_type in RECURRENT and position in (1, 2):
        return "recurrent" if position == 1 else "state"
    if node.op_type == "Gather" and position == 0 and roles.integer(node, "axis", 0) == 0:
        return "rows"
    return None
