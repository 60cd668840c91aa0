"""If, Loop and Scan: channels pass into bodies and out of them."""

from __future__ import annotations

from typing import Protocol

from onnx import GraphProto, TensorProto

from onnxsqueeze.groups.value import NOTHING, Axis, Op, Value
from onnxsqueeze.model.graphs import Scope, free_names


class Walk(Protocol):
    """What analyses graphs."""

    def choose(self, op: Op) -> int:
        """Which branch of an If to follow where their outputs differ in rank."""

    def body(self, graph: GraphProto, inputs: list[Value]) -> list[Value]:
        """Analyses a body with these inputs; its outputs."""

    def lookup(self, scope: Scope, name: str, use: tuple[int, int] | None) -> Value:
        """The value of a name."""


def bypass(walk: Walk, op: Op) -> list[Value]:
    """A body that is not followed: what it reads must stay."""
    op.block_all("is an operator that is not followed")
    for graph in _bodies(op):
        for name in sorted(free_names(graph)):
            for axis in walk.lookup(op.scope, name, None).axes or ():
                op.block(axis, "is read in a body that is not followed")
    return op.guess or [NOTHING] * len(op.node.output)


def _bodies(op: Op) -> list[GraphProto]:
    return [g for a in op.node.attribute for g in ([a.g] if a.HasField("g") else list(a.graphs))]


def _body(op: Op, name: str) -> GraphProto:
    body: GraphProto = next(a.g for a in op.node.attribute if a.name == name)
    return body


def either(walk: Walk, op: Op) -> list[Value]:
    """If: the outputs of both branches are the same channels.

    Where the branches' outputs have different ranks (an exported ``squeeze``), only one can suit what follows.
    """
    one = walk.body(_body(op, "then_branch"), [])
    other = walk.body(_body(op, "else_branch"), [])
    condition = op.ints(0)
    if condition is not None:
        return one if condition[0] else other
    if any(a.axes is not None and b.axes is not None and a.ndim != b.ndim for a, b in zip(one, other, strict=True)):
        return (one, other)[walk.choose(op)]
    return [merged(op, a, b) for a, b in zip(one, other, strict=True)]


def merged(op: Op, one: Value, other: Value) -> Value:
    """A value that is one or the other."""
    if one.axes is None or other.axes is None or one.ndim != other.ndim:
        for value in (one, other):
            for axis in value.axes or ():
                op.block(axis, "leaves the branches with different shapes")
        return Value(None, one.kind)
    axes = []
    for place, (a, b) in enumerate(zip(one.axes, other.axes, strict=True)):
        op.match(a, b, "meets an axis that is not followed in the other branch")
        same = a.size == b.size
        axes.append(Axis(a.size if same else op.free(hint=f"either{place}").size, a.labels if same else None))
    held = one.contents
    if held is None or other.contents is None or held.shape != other.contents.shape or (held != other.contents).any():
        held = None
    return Value(tuple(axes), one.kind, held)


def _state(op: Op, value: Value, number: int) -> Value:
    """A state at the start of a turn: channels are the same every time, other sizes may change."""
    if value.axes is None:
        return value
    axes = [
        axis if axis.labels is not None else op.free(hint=f"state{number}.{place}")
        for place, axis in enumerate(value.axes)
    ]
    return Value(tuple(axes), value.kind)


def _close(op: Op, start: Value, end: Value, number: int) -> Value:
    """A state after the last turn."""
    if start.axes is None or end.axes is None or start.ndim != end.ndim:
        for value in (start, end):
            for axis in value.axes or ():
                op.block(axis, "is a state whose shape changes")
        return Value(None, end.kind)
    for a, b in zip(start.axes, end.axes, strict=True):
        if a.labels is not None or b.labels is not None:
            op.match(a, b, "is tied to a state that is not followed")
    return _state(op, Value(start.axes, end.kind), number)


def loop(walk: Walk, op: Op) -> list[Value]:
    """Loop: states go round, what is collected gets one axis more."""
    states = [value or NOTHING for value in op.inputs[2:]]
    number = [Value((), TensorProto.INT64), Value((), TensorProto.BOOL)]
    inside = [_state(op, value, i) for i, value in enumerate(states)]
    outputs = walk.body(_body(op, "body"), [*number, *inside])[1:]
    ends = [_close(op, value, outputs[i], i) for i, value in enumerate(states)]
    return [*ends, *(_collected(op, value, i) for i, value in enumerate(outputs[len(states) :]))]


def _collected(op: Op, value: Value, number: int, place: int = 0) -> Value:
    if value.axes is None:
        return Value(None, value.kind)
    axes = [
        axis if axis.labels is not None else op.free(hint=f"collected{number}.{i}") for i, axis in enumerate(value.axes)
    ]
    place %= len(axes) + 1
    return Value((*axes[:place], op.free(hint=f"turns{number}"), *axes[place:]), value.kind)


def scan(walk: Walk, op: Op) -> list[Value]:
    """Scan: as Loop, and some inputs are read position by position."""
    if op.opset < 9:
        return bypass(walk, op)
    count = len(op.inputs) - op.attributes["num_scan_inputs"]
    states = [value or NOTHING for value in op.inputs[:count]]
    axes = op.attributes.get("scan_input_axes") or [0] * (len(op.inputs) - count)
    slices = [_turn(op, value or NOTHING, axis) for value, axis in zip(op.inputs[count:], axes, strict=True)]
    inside = [_state(op, value, i) for i, value in enumerate(states)]
    outputs = walk.body(_body(op, "body"), [*inside, *slices])
    ends = [_close(op, value, outputs[i], i) for i, value in enumerate(states)]
    places = op.attributes.get("scan_output_axes") or [0] * (len(outputs) - count)
    return [
        *ends,
        *(_collected(op, v, i, place) for i, (v, place) in enumerate(zip(outputs[count:], places, strict=True))),
    ]


def _turn(op: Op, value: Value, axis: int) -> Value:
    """One position of an input."""
    if value.axes is None:
        return value
    axis %= value.ndim
    op.block(value.axes[axis], "is read position by position")
    return Value((*value.axes[:axis], *value.axes[axis + 1 :]), value.kind)
