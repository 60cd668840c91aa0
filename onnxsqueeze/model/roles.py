"""What a constant is to the nodes that use it: its role, and which of its axes are channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxsqueeze.model.graphs import Edges, Key, Scope, Site, domain

PACKED_DOMAIN = "ai.onnxsqueeze"
SAME = frozenset({"Identity", "Cast"})
RESHAPED = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
QUANTIZED = frozenset({"MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "MatMulInteger", "MatMulIntegerToFloat"})
Shape = tuple[int, ...]
Axes = tuple[int | None, ...]  # for each axis of a derived value: the axis of the constant that it is


@dataclass(frozen=True)
class Move:
    """A node that only moves values: the order of axes of a Transpose, or the new shape of a Reshape and its like."""

    order: tuple[int, ...] | None
    shape: Shape


@dataclass(frozen=True)
class Role:
    """How one node input treats a weight; the axes are those of the value that the node sees."""

    name: str
    channel: int | None = None
    reduction: int | None = None
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Reach:
    """A node input that a constant feeds, maybe through Identity, Cast, Transpose or Reshape."""

    site: Site
    axes: Axes
    moves: tuple[Move, ...] = ()  # from the constant to what the node sees


def attribute(node: NodeProto, name: str, default: object) -> object:
    """The value of an attribute, or the default."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def integer(node: NodeProto, name: str, default: int) -> int:
    """The value of an integer attribute."""
    value = attribute(node, name, default)
    return value if isinstance(value, int) else default


def role(site: Site, ndim: int) -> Role:
    """The role of a value of ``ndim`` dimensions at one node input."""
    node, position = site.node, site.input
    kind = f"{node.op_type} {position}"
    if domain(node) not in ("", "com.microsoft"):
        return Role("other")
    if kind in ("Conv 1", "FusedConv 1"):
        return Role("conv", 0, 1, integer(node, "group", 1))
    if kind == "ConvTranspose 1":
        return Role("conv_transpose", 1, 0, integer(node, "group", 1))
    if node.op_type in ("Gemm", "FusedGemm", "MatMul", "FusedMatMul") and position < 2:
        return _product(node, position, ndim)
    if kind == "Attention 1" and domain(node) == "com.microsoft":
        return Role("matmul", 1, 0)
    if kind == "Gather 0" and ndim:
        axis = integer(node, "axis", 0) % ndim
        return Role("gather", axis, ndim - 1 if axis != ndim - 1 else None)
    if node.op_type in ("LSTM", "GRU", "RNN") and position in (1, 2):
        return Role(node.op_type.lower(), 1, 2)
    return Role("other")


def _product(node: NodeProto, position: int, ndim: int) -> Role:
    name = "gemm" if node.op_type.endswith("Gemm") else "matmul"
    if ndim < 2:
        return Role(name, None, 0 if ndim else None)
    transposed = bool(integer(node, "transB" if position else "transA", 0))
    last_is_channel = bool(position) != transposed
    return Role(name, ndim - 1, ndim - 2) if last_is_channel else Role(name, ndim - 2, ndim - 1)


def merged(reached: list[Reach], ndim: int) -> Role:
    """One role for a constant, in its own axes: the first user that says more than "other" decides."""
    for reach in reached:
        found = role(reach.site, len(reach.axes))
        if found.name != "other":
            channel = None if found.channel is None else reach.axes[found.channel]
            reduction = None if found.reduction is None else reach.axes[found.reduction]
            return Role(found.name, channel, reduction, found.groups)
    return Role("other", 0 if ndim >= 2 else None)


def is_quantized(site: Site) -> bool:
    """Whether the node takes this input as part of a quantized computation, or of a packed weight."""
    node = site.node
    if domain(node) == PACKED_DOMAIN:
        return True
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return site.input > 0
    name = node.op_type
    return name in QUANTIZED or "Quant" in name or (name[:1] == "Q" and name[1:2].isupper())


def reach(edges: Edges, key: Key, shape: Shape) -> list[Reach]:
    """All node inputs that a constant feeds, in graph order."""
    return list(_reach(edges, key, shape, tuple(range(len(shape))), ()))


def _reach(edges: Edges, key: Key, shape: Shape, axes: Axes, moves: tuple[Move, ...]) -> Iterator[Reach]:
    for site in edges.users.get(key, ()):
        step = _step(edges, site, shape, axes) if site.input == 0 and domain(site.node) == "" else None
        if step is None or len(moves) > 16 or not site.node.output:
            yield Reach(site, axes, moves)
            continue
        behind = edges.key(site.scope, site.node.output[0])
        if behind is not None and edges.users.get(behind):
            move, axes_behind = step
            yield from _reach(edges, behind, move.shape, axes_behind, (*moves, move))
        else:
            yield Reach(site, axes, moves)


def _step(edges: Edges, site: Site, shape: Shape, axes: Axes) -> tuple[Move, Axes] | None:
    """How a node that only moves values does it, and the axes behind it; None for any other node."""
    node = site.node
    if node.op_type in SAME:
        return Move(None, shape), axes
    if node.op_type == "Transpose":
        order = attribute(node, "perm", None) or list(range(len(shape)))[::-1]
        if not isinstance(order, list) or sorted(order) != list(range(len(shape))):
            return None
        return Move(tuple(order), tuple(shape[i] for i in order)), tuple(axes[i] for i in order)
    if node.op_type in RESHAPED:
        target = _target(edges, site, shape)
        return None if target is None else (Move(None, target), _regroup(shape, axes, target))
    return None


def _target(edges: Edges, site: Site, shape: Shape) -> tuple[int, ...] | None:
    node = site.node
    if node.op_type == "Flatten":
        axis = integer(node, "axis", 1)
        axis += len(shape) if axis < 0 else 0
        return math.prod(shape[:axis]), math.prod(shape[axis:])
    name = "shape" if node.op_type == "Reshape" else "axes"
    given = attribute(node, name, None)
    if given is None and len(node.input) > 1:
        given = small_ints(edges, site.scope, node.input[1])
    try:
        if node.op_type == "Reshape":
            return None if given is None else _resolve(shape, list(given))  # type: ignore[call-overload]
        probe = np.broadcast_to(np.int8(0), shape)
        if node.op_type == "Squeeze":
            return np.squeeze(probe, None if given is None else tuple(given)).shape  # type: ignore[arg-type]
        return np.expand_dims(probe, tuple(given)).shape  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return None


def _resolve(shape: tuple[int, ...], target: list[int]) -> tuple[int, ...]:
    sizes = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(target)]
    return np.broadcast_to(np.int8(0), shape).reshape(sizes).shape


def _regroup(shape: tuple[int, ...], axes: Axes, target: tuple[int, ...]) -> Axes:
    """An axis survives a reshape when its size and the number of elements before it do."""
    places = {(math.prod(shape[:i]), size): axes[i] for i, size in enumerate(shape) if size > 1}
    return tuple(places.get((math.prod(target[:i]), size)) for i, size in enumerate(target))


def small_ints(edges: Edges, scope: Scope, name: str) -> list[int] | None:
    """The values of a small constant integer tensor."""
    key = edges.key(scope, name)
    if key is None:
        return None
    listed = attribute(edges.producers[key], "value_ints", None) if key in edges.producers else None
    if isinstance(listed, list):
        return listed
    tensor = edges.constants.get(key)
    if tensor is None or tensor.data_type not in (TensorProto.INT64, TensorProto.INT32):
        return None
    if tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > 64:
        return None
    return [int(value) for value in numpy_helper.to_array(tensor).reshape(-1)]
