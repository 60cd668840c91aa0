"""Operators that sum over channels with weights: convolutions and matrix products."""

from __future__ import annotations

import numpy as np

from onnxsqueeze.groups.rules.elementwise import UNKNOWN
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Axis, Op, Value

OPEN = "sums over an axis that is not followed"
INPUT = "reads an axis that is no channel axis, or a graph input"


def split_axis(op: Op, axis: Axis, sizes: list[int]) -> list[Axis]:
    """Axes that together run over one axis of known size."""
    if axis.labels is None:
        return [Axis(Size(size)) for size in sizes]
    parts = op.trace.channels.split(axis.labels, sizes, op.cause("splits channels in ways that tie them all together"))
    return [Axis(Size(size), part) for size, part in zip(sizes, parts, strict=True)]


def contract(op: Op, one: Axis, other: Axis) -> None:
    """Sums over both axes together."""
    op.match(one, other, INPUT)


def conv(op: Op) -> list[Value]:
    """Conv and ConvTranspose, grouped and depthwise."""
    x, w, bias = op.given(0), op.given(1), op.given(2)
    if x is None or w is None or x.axes is None or w.axes is None or x.ndim < 3 or w.ndim != x.ndim:
        op.block_all(UNKNOWN)
        return [op.plain()]
    transposed = op.node.op_type == "ConvTranspose"
    groups = int(op.attributes.get("group", 1))
    outer, inner = (w.axes[1], w.axes[0]) if transposed else (w.axes[0], w.axes[1])
    for axis in w.axes[2:]:
        op.block(axis, "positions of the kernel")
    channels = _grouped(op, x.axes[1], outer, inner, groups, transposed)
    if channels is None:
        op.block_all("the groups do not divide its channels")
        return [op.plain()]
    if bias is not None and bias.axes is not None:
        op.match(bias.axes[0], channels)
        op.mark(2, 0, "parameter")
    extra = op.given(3)  # of FusedConv: a value that is added
    if extra is not None and extra.axes is not None:
        op.match(extra.axes[1], channels)
    return [op.out(x.axes[0], channels, *_picture(op, x.axes[2:], w.axes[2:]))]


def _picture(op: Op, axes: tuple[Axis, ...], kernel: tuple[Axis, ...]) -> list[Axis]:
    """The output's axes behind the channels: each as it was where the kernel takes single positions."""
    guess = op.guess[0].axes if op.guess else None
    plain = guess[2:] if guess else [op.free(hint=str(i)) for i in range(2, len(axes) + 2)]
    settings = {name: op.attributes.get(name) or [] for name in ("strides", "pads", "output_padding")}
    moved = op.attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in op.attributes
    if moved or set(settings["strides"]) - {1} or any(settings["pads"]) or any(settings["output_padding"]):
        kernel = ()
    result = []
    for place, axis in enumerate(axes):
        if place < len(kernel) and kernel[place].one:
            result.append(axis)
        else:
            op.block(axis, "lies along the picture")
            result.append(plain[place])
    return result


def _grouped(op: Op, x: Axis, outer: Axis, inner: Axis, groups: int, transposed: bool) -> Axis | None:
    """The output's channels."""
    w_out, w_in = (1, 0) if transposed else (0, 1)
    if groups == 1:
        contract(op, x, inner)
        op.mark(1, w_out, "producer")
        op.mark(1, w_in, "consumer")
        return outer
    if not (x.size.known and outer.size.known and inner.size.known):
        return None
    whole, part = (inner, outer) if transposed else (outer, inner)  # the axis over all groups, and that within one
    inputs = x.size.factor
    if inputs % groups or whole.size.factor % groups:
        return None
    x_groups, x_within = split_axis(op, x, [groups, inputs // groups])
    w_groups, w_within = split_axis(op, whole, [groups, whole.size.factor // groups])
    op.match(x_groups, w_groups, INPUT)
    op.count("group", w_groups)
    depthwise = x_within.one and (part if transposed else w_within).one
    if transposed:
        contract(op, x_within, w_within)
        result = _joined(op, [w_groups, part])
    else:
        contract(op, x_within, part)
        result = outer
    op.mark(1, w_out, "parameter" if depthwise else "producer")
    op.mark(1, w_in, "parameter" if depthwise else "consumer")
    return result


def _joined(op: Op, axes: list[Axis]) -> Axis:
    sizes = [axis.size.factor for axis in axes]
    labels = op.trace.channels.join([(axis.labels, size) for axis, size in zip(axes, sizes, strict=True)])
    return Axis(Size(int(np.prod(sizes))), labels)


def gemm(op: Op) -> list[Value]:
    """A·B + C, either factor transposed."""
    a, b, c = op.given(0), op.given(1), op.given(2)
    if a is None or b is None or a.axes is None or b.axes is None or a.ndim != 2 or b.ndim != 2:
        op.block_all(UNKNOWN)
        return [op.plain()]
    rows, inner_a = a.axes[::-1] if op.attributes.get("transA") else a.axes
    inner_b, columns = b.axes[::-1] if op.attributes.get("transB") else b.axes
    _product(op, (inner_a, inner_b), a.constant, b.constant)
    flip_a, flip_b = bool(op.attributes.get("transA")), bool(op.attributes.get("transB"))
    op.mark(0, int(flip_a), "producer")
    op.mark(0, int(not flip_a), "consumer")
    op.mark(1, int(not flip_b), "producer")
    op.mark(1, int(flip_b), "consumer")
    if c is not None and c.axes is not None:
        for position, (axis, target) in enumerate(zip(c.axes[::-1], (columns, rows), strict=False)):
            if not axis.one:
                op.match(axis, target)
                op.mark(2, c.ndim - 1 - position, "parameter")
    return [op.out(rows, columns)]


def _product(op: Op, inner: tuple[Axis, Axis], *constant: bool) -> None:
    contract(op, *inner)
    if not any(constant):
        op.reduce(inner[0])


def matmul(op: Op) -> list[Value]:
    """A·B over the last axis of A and the last but one of B; those before are broadcast."""
    a, b = op.given(0), op.given(1)
    if a is None or b is None or not a.axes or not b.axes:
        op.block_all(UNKNOWN)
        return [op.plain()]
    inner_b = b.axes[-2] if b.ndim > 1 else b.axes[0]
    _product(op, (a.axes[-1], inner_b), a.constant, b.constant)
    op.mark(0, a.ndim - 1, "consumer")
    op.mark(1, max(b.ndim - 2, 0), "consumer")
    rows = a.axes[-2:-1]
    columns = b.axes[-1:] if b.ndim > 1 else ()
    if a.ndim > 1:
        op.mark(0, a.ndim - 2, "producer")
    if b.ndim > 1:
        op.mark(1, b.ndim - 1, "producer")
    return [op.out(*_batch(op, a, b), *rows, *columns)]


def _batch(op: Op, a: Value, b: Value) -> list[Axis]:
    """The axes in front, broadcast."""
    assert a.axes is not None and b.axes is not None
    fronts = a.axes[:-2], b.axes[:-2]
    count = max(len(front) for front in fronts)
    result = []
    for place in range(-count, 0):
        met = []
        for position, front in enumerate(fronts):
            if len(front) >= -place:
                met.append(front[place])
                op.mark(position, len(front) + place, "parameter")
        wide = [axis for axis in met if not axis.one]
        if len(wide) == 2:
            op.match(wide[0], wide[1])
        result.append(next((axis for axis in wide if axis.labels is not None), (wide or met)[0]))
    return result
