"""Operators that compute statistics along axes: reductions, normalisations, Softmax."""

from __future__ import annotations

from onnxsqueeze.groups.rules.elementwise import UNKNOWN
from onnxsqueeze.groups.rules.products import split_axis
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Axis, Op, Value

SUMS = frozenset({"ReduceSum", "ReduceMean", "ReduceL2", "ReduceL1", "ReduceSumSquare"})


def reduce(op: Op) -> list[Value]:
    """Sums and means take the channels that are kept; maxima and products would see that some are gone."""
    value = op.given(0)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    axes = op.setting("axes", 1)
    if axes is None and op.given(1) is not None:
        op.block_all("reduces along axes that are not known")
        return [op.plain()]
    every = not axes and not op.attributes.get("noop_with_empty_axes")
    places = set(range(value.ndim)) if every else {axis % value.ndim for axis in axes or ()}
    for place in places:
        if op.node.op_type in SUMS:
            op.reduce(value.axes[place])
        else:
            op.block(value.axes[place], "would change when channels go")
    keep = op.attributes.get("keepdims", 1)
    result = [Axis(Size(1)) if i in places else axis for i, axis in enumerate(value.axes) if keep or i not in places]
    return [op.out(*result)]


def along(op: Op) -> list[Value]:
    """Softmax and its kind: the axis along which they work must stay as it is."""
    value = op.given(0)
    if value is None or not value.axes:
        op.block_all(UNKNOWN)
        return [op.plain(i) for i in range(len(op.node.output))]
    old = op.opset < 13 and op.node.op_type.endswith(("Softmax", "Hardmax"))
    axis = op.attributes.get("axis", 1 if old else -1) % value.ndim
    for place in range(axis, value.ndim) if old else [axis]:
        op.block(value.axes[place], "works along the channels")
    return [op.out(*value.axes)]


def batch_normalization(op: Op) -> list[Value]:
    """One scale, bias, mean and variance a channel; also InstanceNormalization."""
    value = op.given(0)
    if value is None or value.axes is None or value.ndim < 2:
        op.block_all(UNKNOWN)
        return [op.plain(i) for i in range(len(op.node.output))]
    if op.attributes.get("training_mode"):
        op.block_all("is in training mode")
    for position in range(1, len(op.inputs)):
        _parameter(op, position, value.axes[1])
    return [op.out(*value.axes), *(op.plain(i) for i in range(1, len(op.node.output)))]


def _parameter(op: Op, position: int, axis: Axis) -> None:
    value = op.given(position)
    if value is not None and value.axes:
        op.match(value.axes[-1], axis)
        op.mark(position, value.ndim - 1, "parameter")


def layer_normalization(op: Op) -> list[Value]:
    """Mean and variance over the last axes, of what is kept; also RMSNormalization."""
    value = op.given(0)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain(i) for i in range(len(op.node.output))]
    first = op.attributes.get("axis", -1) % value.ndim
    for axis in value.axes[first:]:
        op.reduce(axis)
    for position in (1, 2):
        given = op.given(position)
        for place in range(given.ndim if given is not None and given.axes is not None else 0):
            assert given is not None and given.axes is not None
            if not given.axes[place].one:
                op.match(given.axes[place], value.axes[place - given.ndim])
                op.mark(position, place, "parameter")
    return [op.out(*value.axes), *(op.plain(i) for i in range(1, len(op.node.output)))]


def group_normalization(op: Op) -> list[Value]:
    """Channels in groups: whole groups go, or the same channels of every group."""
    value = op.given(0)
    groups = op.attributes["num_groups"]
    if value is None or value.axes is None or not value.axes[1].size.known or value.axes[1].size.factor % groups:
        op.block_all(UNKNOWN)
        return [op.plain()]
    channels = value.axes[1]
    group, within = split_axis(op, channels, [groups, channels.size.factor // groups])
    op.count("num_groups", group)
    op.reduce(within)
    for position in (1, 2):
        given = op.given(position)
        if given is not None and given.axes:
            op.match(given.axes[0], group if given.axes[0].size == group.size != channels.size else channels)
            op.mark(position, 0, "parameter")
    return [op.out(*value.axes)]
