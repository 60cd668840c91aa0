"""Operators that put axes together or take parts of them: Concat, Split, Slice, Gather, Pad, Expand, pooling."""

from __future__ import annotations

import numpy as np

from onnxsqueeze.groups.contents import bounds
from onnxsqueeze.groups.rules.elementwise import UNKNOWN
from onnxsqueeze.groups.rules.products import split_axis
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Axis, Op, Value


def concat(op: Op) -> list[Value]:
    """Channels side by side along one axis; along the others they are the same."""
    values = [value for value in op.inputs if value is not None]
    axes = [value.axes for value in values if value.axes is not None]
    if len(axes) != len(values) or len({len(a) for a in axes}) != 1:
        op.block_all(UNKNOWN)
        return [op.plain()]
    along = op.attributes.get("axis", 1) % len(axes[0])
    result = []
    for place, met in enumerate(zip(*axes, strict=True)):
        if place == along:
            result.append(_chained(op, list(met)))
            continue
        first = next((axis for axis in met if axis.labels is not None), met[0])
        for other in met:
            if other is not first:
                op.match(first, other)
        result.append(first)
    return [op.out(*result)]


def _chained(op: Op, axes: list[Axis]) -> Axis:
    total = Size(0)
    for axis in axes:
        total = total + axis.size
    if not total.known or all(axis.labels is None for axis in axes):
        for axis in axes:
            op.block(axis, "is joined with an axis of unknown size")
        return Axis(total)
    width = max(axis.labels.shape[1] for axis in axes if axis.labels is not None)
    parts = []
    for axis in axes:
        part = np.full((axis.size.factor, width), -1, np.int64)
        if axis.labels is not None:
            part[:, : axis.labels.shape[1]] = axis.labels
        parts.append(part)
    return Axis(total, np.concatenate(parts))


def part_of(axis: Axis, places: list[int]) -> Axis:
    """Some positions of an axis."""
    return Axis(Size(len(places)), None if axis.labels is None else axis.labels[places])


def split(op: Op) -> list[Value]:
    """One axis in several pieces."""
    value = op.given(0)
    count = len(op.node.output)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain(i) for i in range(count)]
    along = op.attributes.get("axis", 0) % value.ndim
    axis = value.axes[along]
    sizes = op.setting("split", 1)
    if sizes is None and op.given(1) is None and axis.size.known:
        each = -(-axis.size.factor // count)
        sizes = [each] * (count - 1) + [axis.size.factor - each * (count - 1)]
    if sizes is None or not axis.size.known or sum(sizes) != axis.size.factor:
        op.block(axis, "is split into pieces of unknown size")
        pieces = [op.free(hint=str(i)) for i in range(count)]
    else:
        starts = np.cumsum([0, *sizes])
        pieces = [part_of(axis, list(range(starts[i], starts[i] + n))) for i, n in enumerate(sizes)]
    return [op.out(*value.axes[:along], p, *value.axes[along + 1 :], position=i) for i, p in enumerate(pieces)]


def slice_(op: Op) -> list[Value]:
    """Every so-many-th position between two bounds, along some axes."""
    value = op.given(0)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    axes, ranges = slice_ranges(op, value)
    result = list(value.axes)
    if axes is None:
        op.block_all("is cut along axes that are not known")
        return [op.plain()]
    for axis, chosen in zip(axes, ranges, strict=True):
        old = result[axis]
        if chosen is None:
            op.block(old, "is cut at places that are not known")
            result[axis] = op.free(hint=str(axis))
        else:
            if abs(chosen.step) != 1:
                op.block(old, "is cut with a step")
            result[axis] = part_of(old, list(chosen))
    return [op.out(*result)]


def slice_ranges(op: Op, value: Value) -> tuple[list[int] | None, list[range | None]]:
    """Axes and positions that a Slice takes."""
    starts, ends = op.setting("starts", 1), op.setting("ends", 2)
    axes, steps = op.setting("axes", 3), op.setting("steps", 4)
    if axes is None and (op.given(3) is not None or (starts is None and ends is None)):
        return None, []
    if axes is None:
        axes = list(range(len(starts or ends or [])))
    places = [axis % value.ndim for axis in axes]
    steps = steps if steps is not None or op.given(4) is not None else [1] * len(axes)
    ranges: list[range | None] = []
    for i, axis in enumerate(places):
        assert value.axes is not None
        size = value.axes[axis].size
        if starts is None or ends is None or steps is None or not size.known:
            ranges.append(None)
        else:
            begin, stop = bounds(starts[i], ends[i], steps[i], size.factor)
            ranges.append(range(begin, stop, steps[i]))
    return places, ranges


def gather(op: Op) -> list[Value]:
    """Positions by number: chosen channels where the numbers are constant, rows of an embedding otherwise."""
    value, indices = op.given(0), op.given(1)
    if value is None or value.axes is None or indices is None or indices.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    along = op.attributes.get("axis", 0) % value.ndim
    axis = value.axes[along]
    chosen = op.ints(1)
    middle: list[Axis] = list(indices.axes)
    if chosen is not None and axis.size.known and len(indices.axes) == 1:
        places = [i % axis.size.factor for i in chosen]
        middle = [part_of(axis, places)]
    else:
        op.block(axis, "is indexed by position")
        for other in indices.axes:
            op.block(other, "positions to gather")
    for place in range(value.ndim):
        if place != along:
            op.mark(0, place, "producer")
    return [op.out(*value.axes[:along], *middle, *value.axes[along + 1 :])]


def pad(op: Op) -> list[Value]:
    """What is added stays."""
    value = op.given(0)
    if value is None or value.axes is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    axes = [axis % value.ndim for axis in (range(value.ndim) if op.given(3) is None else op.ints(3) or ())]
    if not axes:
        op.block_all("is padded along axes that are not known")
        return [op.plain()]
    pads = _pads(op, 2 * len(axes))
    constant = op.attributes.get("mode", "constant") == "constant"
    result = list(value.axes)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if before == after == 0:
            continue
        if constant and before is not None and after is not None:
            result[axis] = _padded(op, result[axis], before, after)
        else:
            op.block(result[axis], "is padded in a way that cannot be followed")
            result[axis] = op.free(hint=str(axis))
    return [op.out(*result)]


def _pads(op: Op, count: int) -> list[int | None]:
    """How much is added at each place; None where that is not known, as along a picture of free size."""
    if "pads" in op.attributes:
        return list(op.attributes["pads"])
    given = op.given(1)
    held = None if given is None else given.contents
    if held is None or held.size != count:
        return [None] * count
    return [size.factor if isinstance(size, Size) and size.known else None for size in held.flat]


def _padded(op: Op, axis: Axis, before: int, after: int) -> Axis:
    if min(before, after) < 0:
        op.block(axis, "is cut by negative padding")
        return Axis(axis.size + Size(before + after))
    return _chained(op, [Axis(Size(before)), axis, Axis(Size(after))])


def expand(op: Op) -> list[Value]:
    """Axes of size 1 are repeated."""
    value = op.given(0)
    shape = op.given(1)
    if value is None or value.axes is None or shape is None or shape.contents is None:
        op.block_all(UNKNOWN)
        return [op.plain()]
    wanted = list(shape.contents)
    ndim = max(len(wanted), value.ndim)
    result = []
    for place in range(-ndim, 0):
        own = value.axes[place] if value.ndim >= -place else None
        size = wanted[place] if len(wanted) >= -place else Size(1)
        result.append(own if own is not None and not own.one else made(op, size))
    return [op.out(*result)]


def made(op: Op, size: Size) -> Axis:
    """An axis that is as long as a shape input says, and may get shorter."""
    many = size.known and size.factor > 1
    return Axis(size, op.trace.channels.fresh(size.factor) if many else None)


def constant_of_shape(op: Op) -> list[Value]:
    """One number everywhere."""
    shape = op.given(0)
    if shape is None or shape.contents is None:
        return [op.plain()]
    return [op.out(*(made(op, size) for size in shape.contents))]


def tile(op: Op) -> list[Value]:
    """Axes are repeated as a whole."""
    value, counts = op.given(0), op.ints(1)
    if value is None or value.axes is None or counts is None or len(counts) != value.ndim:
        op.block_all(UNKNOWN)
        return [op.plain()]
    result = []
    for axis, count in zip(value.axes, counts, strict=True):
        if count == 1:
            result.append(axis)
            continue
        labels = None if axis.labels is None else np.tile(axis.labels, (count, 1))
        result.append(Axis(axis.size * Size(count), labels))
    return [op.out(*result)]


def spatial(op: Op) -> list[Value]:
    """Pooling and resizing: batch and channels pass, the rest changes."""
    value = op.given(0)
    outputs = [op.plain(i) for i in range(len(op.node.output))]
    if value is None or value.axes is None or value.ndim < 2:
        op.block_all(UNKNOWN)
        return outputs
    for axis in value.axes[2:]:
        op.block(axis, "lies along the picture")
    first = outputs[0].axes
    if first is not None and first[1].size.known and first[1].size != value.axes[1].size:
        op.block_all("resizes the channels")
        return outputs
    result = []
    for position, plain in enumerate(outputs):
        rest = plain.axes[2:] if plain.axes is not None else tuple(op.free(hint=str(i)) for i in range(2, value.ndim))
        result.append(op.out(*value.axes[:2], *rest, position=position))
    return result


def depth_to_space(op: Op) -> list[Value]:
    """Blocks of channels become blocks of pixels."""
    value = op.given(0)
    if value is None or value.axes is None or value.ndim != 4 or not value.axes[1].size.known:
        op.block_all(UNKNOWN)
        return [op.plain()]
    block = op.attributes["blocksize"] ** 2
    depth = value.axes[1].size.factor // block
    crd = op.attributes.get("mode") == "CRD"
    parts = split_axis(op, value.axes[1], [depth, block] if crd else [block, depth])
    channels, positions = parts if crd else parts[::-1]
    op.block(positions, "becomes a block of pixels")
    for axis in value.axes[2:]:
        op.block(axis, "lies along the picture")
    rest = op.guess[0].axes[2:] if op.guess and op.guess[0].axes else (op.free(hint="2"), op.free(hint="3"))
    return [op.out(value.axes[0], channels, *rest)]


def space_to_depth(op: Op) -> list[Value]:
    """Blocks of pixels become blocks of channels."""
    value = op.given(0)
    if value is None or value.axes is None or value.ndim != 4 or not value.axes[1].size.known:
        op.block_all(UNKNOWN)
        return [op.plain()]
    block = op.attributes["blocksize"] ** 2
    channels = value.axes[1]
    for axis in value.axes[2:]:
        op.block(axis, "lies along the picture")
    labels = None if channels.labels is None else np.tile(channels.labels, (block, 1))
    rest = op.guess[0].axes[2:] if op.guess and op.guess[0].axes else (op.free(hint="2"), op.free(hint="3"))
    return [op.out(value.axes[0], Axis(channels.size * Size(block), labels), *rest)]
