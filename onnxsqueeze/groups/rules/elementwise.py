"""Operators that work on each position alone, with broadcasting."""

from __future__ import annotations

from onnxsqueeze.groups.value import Axis, Op, Value

UNKNOWN = "the shape of its input is not known"


def elementwise(op: Op) -> list[Value]:
    """Any number of inputs, broadcast against each other."""
    values = [(i, value) for i, value in enumerate(op.inputs) if value is not None]
    if any(value.axes is None for _, value in values):
        op.block_all(UNKNOWN)
        return [op.plain()]
    ndim = max((value.ndim for _, value in values), default=0)
    axes = [_broadcast(op, values, axis - ndim) for axis in range(ndim)]
    return [op.out(*axes)]


def _broadcast(op: Op, values: list[tuple[int, Value]], axis: int) -> Axis:
    """One output axis, counted from the end."""
    met = [(i, v.axes[axis]) for i, v in values if v.axes is not None and v.ndim >= -axis and not v.axes[axis].one]
    if not met:
        return op.free(None) if not values else next(v.axes[axis] for _, v in values if v.axes and v.ndim >= -axis)
    first = next((a for _, a in met if a.labels is not None), met[0][1])
    for position, other in met:
        if other is not first:
            op.match(first, other)
        op.mark(position, _place(op, position, axis), "parameter")
    return first


def _place(op: Op, position: int, axis: int) -> int:
    value = op.inputs[position]
    assert value is not None
    return value.ndim + axis


def unary(op: Op) -> list[Value]:
    """All outputs are like the first input, whatever the others are."""
    value = op.given(0)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain(i) for i in range(len(op.node.output))]
    return [op.out(*value.axes, position=i) for i in range(len(op.node.output))]


def prelu(op: Op) -> list[Value]:
    """The slope is broadcast to the input, never the other way round."""
    return elementwise(op)
