"""Operators that move channels to other axes: Reshape and its kind, Transpose."""

from __future__ import annotations

from onnxsqueeze.groups.rules.elementwise import UNKNOWN
from onnxsqueeze.groups.rules.products import split_axis
from onnxsqueeze.groups.sizes import Size, product
from onnxsqueeze.groups.value import Axis, Op, Value

ONE = Axis(Size(1))


def transpose(op: Op) -> list[Value]:
    """Permuted axes."""
    value = op.given(0)
    if value is None or value.axes is None:
        return [op.plain()]
    order = op.attributes.get("perm") or list(range(value.ndim))[::-1]
    return [op.out(*(value.axes[i] for i in order))]


def squeeze(op: Op) -> list[Value]:
    """Axes of size 1 go."""
    value = op.given(0)
    axes = op.setting("axes", 1)
    if value is None or value.axes is None or (axes is None and op.given(1) is not None):
        op.block_all(UNKNOWN)
        return [op.plain()]
    gone = {i for i, axis in enumerate(value.axes) if axis.one} if axes is None else {i % value.ndim for i in axes}
    return [op.out(*(axis for i, axis in enumerate(value.axes) if i not in gone))]


def unsqueeze(op: Op) -> list[Value]:
    """Axes of size 1 come."""
    value = op.given(0)
    axes = op.setting("axes", 1)
    if value is None or value.axes is None or axes is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    ndim = value.ndim + len(axes)
    new = {i % ndim for i in axes}
    rest = iter(value.axes)
    return [op.out(*(ONE if i in new else next(rest) for i in range(ndim)))]


def flatten(op: Op) -> list[Value]:
    """Two axes: those before, and those from ``axis`` on."""
    value = op.given(0)
    if value is None or value.axes is None:
        return [op.plain()]
    axis = op.attributes.get("axis", 1)
    axis += value.ndim if axis < 0 else 0
    parts = value.axes[:axis], value.axes[axis:]
    return [op.out(*(regroup(op, list(part), [product([a.size for a in part])])[0] for part in parts))]


def reshape(op: Op) -> list[Value]:
    """The same values along other axes."""
    value = op.given(0)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    target = target_sizes(op, value)
    if target is None:
        op.block_all("the target shape is not known")
        return [op.plain()]
    return [op.out(*regroup(op, list(value.axes), target))]


def target_sizes(op: Op, value: Value) -> list[Size] | None:
    """What a Reshape asks for, 0 and -1 replaced by what they mean."""
    assert value.axes is not None
    shape = op.given(1)
    if "shape" in op.attributes:
        wanted = [Size(size) for size in op.attributes["shape"]]
    elif shape is not None and shape.contents is not None:
        wanted = list(shape.contents)
    else:
        return None
    if not op.attributes.get("allowzero"):
        wanted = [value.axes[i].size if s == Size(0) and i < value.ndim else s for i, s in enumerate(wanted)]
    if Size(-1) in wanted:
        rest = product([size for size in wanted if size != Size(-1)])
        left = product([axis.size for axis in value.axes]).over(rest)
        wanted[wanted.index(Size(-1))] = left or op.free(hint="rest").size
    return wanted


def regroup(op: Op, axes: list[Axis], target: list[Size]) -> list[Axis]:
    """The axes of the same values in another shape; groups of axes with the same product belong together."""
    result: list[Axis] = []
    left, wanted = list(axes), list(target)
    while wanted:
        group, sizes = _next_group(left, wanted)
        if group is None:
            return result + _by_the_end(op, left, wanted)
        left, wanted = left[len(group) :], wanted[len(sizes) :]
        result += _regrouped(op, group, sizes)
    for axis in left:
        if not axis.one:
            op.block(axis, "is reshaped in a way that cannot be followed")
    return result


def _by_the_end(op: Op, axes: list[Axis], target: list[Size]) -> list[Axis]:
    """Those at the end that are as long as before are the same; what stands in front of them is mixed."""
    same = 0
    while same < min(len(axes), len(target)) and axes[-1 - same].size == target[-1 - same]:
        same += 1
    for axis in axes[: len(axes) - same]:
        op.block(axis, "is reshaped in a way that cannot be followed")
    return [Axis(size) for size in target[: len(target) - same]] + axes[len(axes) - same :]


def _next_group(axes: list[Axis], target: list[Size]) -> tuple[list[Axis] | None, list[Size]]:
    """The shortest runs of axes and of target sizes with the same product."""
    taken, sizes = 0, 1
    while True:
        have, want = product([axis.size for axis in axes[:taken]]), product(target[:sizes])
        if have == want:
            return axes[:taken], target[:sizes]
        if want.over(have) is not None and taken < len(axes):
            taken += 1
        elif have.over(want) is not None and sizes < len(target):
            sizes += 1
        elif taken < len(axes) and sizes < len(target):
            taken, sizes = taken + 1, sizes + 1
        else:
            return None, []


def _regrouped(op: Op, group: list[Axis], sizes: list[Size]) -> list[Axis]:
    wide = [axis for axis in group if not axis.one]
    places = [i for i, size in enumerate(sizes) if size != Size(1)]
    result = [Axis(size) for size in sizes]
    if len(wide) == 1 and len(places) == 1:
        result[places[0]] = wide[0]
        return result
    if all(axis.labels is None for axis in wide):
        return result
    if not all(axis.size.known for axis in wide) or not all(size.known for size in sizes):
        for axis in wide:
            op.block(axis, "lies along an axis of unknown size")
        return result
    labels = op.trace.channels.join([(axis.labels, axis.size.factor) for axis in wide])
    joined = Axis(product([axis.size for axis in wide]), labels)
    parts = split_axis(op, joined, [sizes[i].factor for i in places])
    for place, part in zip(places, parts, strict=True):
        result[place] = part
    return result
