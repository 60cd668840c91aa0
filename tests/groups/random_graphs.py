"""Random graphs of all the operators that channels are followed through, built block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper
from random_maker import SIDE, Block, Maker, finished


def conv(m: Maker, x: str, c: int) -> tuple[str, int]:
    out = (8, 12, 16, 24)[m.pick(4)]
    size = (1, 3)[m.pick(2)]
    bias = [m.weight(out)] if m.pick(2) else []
    return m.add("Conv", x, m.weight(out, c, size, size), *bias, kernel_shape=[size] * 2, pads=[size // 2] * 4), out


def grouped(m: Maker, x: str, c: int) -> tuple[str, int]:
    groups = next(n for n in ((2, 4)[m.pick(2)], 3, 1) if c % n == 0)
    out = groups * (2 + m.pick(4))
    return m.add("Conv", x, m.weight(out, c // groups, 3, 3), m.weight(out), pads=[1] * 4, group=groups), out


def depthwise(m: Maker, x: str, c: int) -> tuple[str, int]:
    times = 1 + m.pick(2)
    return m.add("Conv", x, m.weight(c * times, 1, 3, 3), pads=[1] * 4, group=c), c * times


def transposed(m: Maker, x: str, c: int) -> tuple[str, int]:
    groups = 2 if m.pick(2) and c % 2 == 0 else 1
    weight = m.weight(c, 8 // groups, 3, 3)
    return m.add("ConvTranspose", x, weight, m.weight(8), pads=[1] * 4, group=groups), 8


def normal(m: Maker, x: str, c: int) -> tuple[str, int]:
    scale = m.weight(c, low=0.5)
    return m.add("BatchNormalization", x, scale, m.weight(c), m.weight(c), m.weight(c, low=0.5)), c


def instance(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add("InstanceNormalization", x, m.weight(c, low=0.5), m.weight(c)), c


def group_norm(m: Maker, x: str, c: int) -> tuple[str, int]:
    if c % 2:
        return x, c
    return m.add("GroupNormalization", x, m.weight(c, low=0.5), m.weight(c), num_groups=2, epsilon=1e-3), c


def activation(m: Maker, x: str, c: int) -> tuple[str, int]:
    kind = ("Relu", "Sigmoid", "HardSwish", "LeakyRelu", "Tanh", "Softplus")[m.pick(6)]
    return m.add(kind, x), c


def prelu(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add("PRelu", x, m.weight(c, 1, 1)), c


def residual(m: Maker, x: str, c: int) -> tuple[str, int]:
    y = m.add("Relu", m.add("Conv", x, m.weight(c, c, 3, 3), pads=[1] * 4))
    return m.add("Add", y, x), c


def squeeze_excite(m: Maker, x: str, c: int) -> tuple[str, int]:
    y = m.add("Relu", m.add("Conv", m.add("GlobalAveragePool", x), m.weight(4, c, 1, 1), m.weight(4)))
    return m.add("Mul", x, m.add("Sigmoid", m.add("Conv", y, m.weight(c, 4, 1, 1)))), c


def dense_block(m: Maker, x: str, c: int) -> tuple[str, int]:
    y = m.add("Relu", m.add("Conv", x, m.weight(8, c, 1, 1)))
    return m.add("Concat", x, y, axis=1), c + 8


def cross_stage(m: Maker, x: str, c: int) -> tuple[str, int]:
    sizes = [c // 2, c - c // 2]
    one, other = m.add("Split", x, m.ints(*sizes), outputs=2, axis=1)
    y = m.add("Conv", one, m.weight(8, sizes[0], 1, 1))
    return m.add("Concat", y, other, one, axis=1), 8 + c


def sliced(m: Maker, x: str, c: int) -> tuple[str, int]:
    half = c // 2
    one = m.add("Slice", x, m.ints(0), m.ints(half), m.ints(1))
    other = m.add("Slice", x, m.ints(half), m.ints(2 * half), m.ints(1), m.ints(1))
    return m.add("Mul", one, m.add("Sigmoid", other)), half


def reversed_channels(m: Maker, x: str, c: int) -> tuple[str, int]:
    y = m.add("Slice", x, m.ints(-1), m.ints(-(2**62)), m.ints(1), m.ints(-1))
    return m.add("Add", x, y), c


def chosen(m: Maker, x: str, c: int) -> tuple[str, int]:
    places = [int(i) for i in np.random.default_rng(m.pick(100)).permutation(c)]
    return m.add("Gather", x, m.ints(*places), axis=1), c


def padded(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add("Pad", x, m.ints(0, 1, 0, 0, 0, 2, 0, 0)), c + 3


def pooled(m: Maker, x: str, c: int) -> tuple[str, int]:
    kind = ("MaxPool", "AveragePool")[m.pick(2)]
    return m.add(kind, x, kernel_shape=[3, 3], pads=[1] * 4), c


def resized(m: Maker, x: str, c: int) -> tuple[str, int]:
    y = m.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    if m.pick(2):
        return m.add("Resize", y, "", m.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest"), c
    return m.add("Resize", y, "", "", m.ints(2, c, SIDE, SIDE), mode="nearest"), c


def shuffled(m: Maker, x: str, c: int) -> tuple[str, int]:
    if c % 2:
        return x, c
    y = m.add("Reshape", x, m.ints(0, 2, c // 2, SIDE, SIDE))
    y = m.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    return m.add("Reshape", y, m.ints(0, -1, SIDE, SIDE)), c


def pixel_shuffle(m: Maker, x: str, c: int) -> tuple[str, int]:
    mode = ("DCR", "CRD")[m.pick(2)]
    y = m.add("Conv", x, m.weight(24, c, 2, 2), strides=[2, 2])
    return m.add("DepthToSpace", y, blocksize=2, mode=mode), 6


def pixel_unshuffle(m: Maker, x: str, c: int) -> tuple[str, int]:
    y = m.add("SpaceToDepth", x, blocksize=2)
    y = m.add("Conv", y, m.weight(8, 4 * c, 1, 1))
    return m.add("Resize", y, "", m.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest"), 8


def shared(m: Maker, x: str, c: int) -> tuple[str, int]:
    weight = m.weight(c, c, 3, 3)
    y = m.add("Relu", m.add("Conv", x, weight, pads=[1] * 4))
    return m.add("Conv", y, weight, pads=[1] * 4), c


def branched(m: Maker, x: str, c: int) -> tuple[str, int]:
    bodies = []
    for kind in ("Relu", "Tanh"):
        inner = Maker(m.pick)
        inner._count = 1000 * (len(bodies) + 1) + m._count
        y = inner.add(kind, inner.add("Conv", x, inner.weight(8, c, 1, 1)))
        out = helper.make_tensor_value_info(y, TensorProto.FLOAT, [2, 8, SIDE, SIDE])
        bodies.append(helper.make_graph(inner.nodes, f"{m.name('body')}", [], [out], inner.weights))
    mean = m.add("ReduceMean", x, keepdims=0)
    condition = m.add("Greater", mean, m.constant(np.array(0, np.float32)))
    return m.add("If", condition, then_branch=bodies[0], else_branch=bodies[1]), 8


def unknown(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add("LRN", x, size=3), c


PICTURES: list[Block] = [
    conv, grouped, depthwise, transposed, normal, instance, group_norm, activation, prelu, residual, squeeze_excite,
    dense_block, cross_stage, sliced, reversed_channels, chosen, padded, pooled, resized, shuffled, pixel_shuffle,
    pixel_unshuffle, shared, branched, unknown,
]  # fmt: skip


# ---- sequences [n, t, c] -----------------------------------------------------------------------------------------


def dense(m: Maker, x: str, c: int) -> tuple[str, int]:
    out = (8, 12, 16)[m.pick(3)]
    return m.add("Add", m.add("MatMul", x, m.weight(c, out)), m.weight(out)), out


def gated(m: Maker, x: str, c: int) -> tuple[str, int]:
    gate = m.add("Sigmoid", m.add("MatMul", x, m.weight(c, 24)))
    y = m.add("Mul", gate, m.add("MatMul", x, m.weight(c, 24)))
    return m.add("Add", x, m.add("MatMul", y, m.weight(24, c))), c


def layer_norm(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add("LayerNormalization", x, m.weight(c, low=0.5), m.weight(c), axis=-1), c


def layer_norm_in_parts(m: Maker, x: str, c: int) -> tuple[str, int]:
    axes = m.ints(-1)
    off = m.add("Sub", x, m.add("ReduceMean", x, axes))
    square = m.add("Pow", off, m.constant(np.array(2, np.float32)))
    variance = m.add("Add", m.add("ReduceMean", square, axes), m.constant(np.array(1e-3, np.float32)))
    y = m.add("Mul", m.add("Div", off, m.add("Sqrt", variance)), m.weight(c, low=0.5))
    return m.add("Add", y, m.weight(c)), c


def _heads(m: Maker, x: str, t: str, heads: int, dims: int, order: list[int]) -> str:
    """[n, t, heads * dims] to [n, heads, t, dims], the target constant or computed."""
    if m.pick(2):
        target = m.ints(0, -1, heads, dims)
    else:
        shape = m.add("Shape", t)
        n, length = (m.add("Gather", shape, m.ints(i), axis=0) for i in (0, 1))
        target = m.add("Concat", n, length, m.ints(heads), m.ints(dims), axis=0)
    return m.add("Transpose", m.add("Reshape", x, target), perm=order)


def attention(m: Maker, x: str, c: int) -> tuple[str, int]:
    heads, dims = (2, 4)[m.pick(2)], 4 + 2 * m.pick(2)
    wide = heads * dims
    if m.pick(2):
        q, k, v = (m.add("Add", m.add("MatMul", x, m.weight(c, wide)), m.weight(wide)) for _ in range(3))
    else:
        q, k, v = m.add("Split", m.add("MatMul", x, m.weight(c, 3 * wide)), m.ints(wide, wide, wide), outputs=3, axis=2)
    q, v = (_heads(m, value, x, heads, dims, [0, 2, 1, 3]) for value in (q, v))
    k = _heads(m, k, x, heads, dims, [0, 2, 3, 1])
    if m.pick(2):
        root = m.add("Sqrt", m.add("Cast", m.add("Gather", m.add("Shape", q), m.ints(3), axis=0), to=1))
    else:
        root = m.constant(np.array([dims**0.5], np.float32))
    scores = m.add("Softmax", m.add("Div", m.add("MatMul", q, k), root), axis=-1)
    y = m.add("Transpose", m.add("MatMul", scores, v), perm=[0, 2, 1, 3])
    y = m.add("Reshape", y, m.ints(0, -1, wide))
    return m.add("Add", x, m.add("MatMul", y, m.weight(wide, c))), c


def packed_attention(m: Maker, x: str, c: int) -> tuple[str, int]:
    heads, dims = 2, 6
    y = m.add("Reshape", m.add("MatMul", x, m.weight(c, 3 * heads * dims)), m.ints(0, -1, 3, heads, dims))
    y = m.add("Transpose", y, perm=[2, 0, 3, 1, 4])
    q, k, v = (m.add("Gather", y, m.constant(np.array(i, np.int64)), axis=0) for i in range(3))
    scores = m.add("Softmax", m.add("Einsum", q, k, equation="bhid,bhjd->bhij"), axis=-1)
    y = m.add("Einsum", scores, v, equation="bhij,bhjd->bihd")
    return m.add("MatMul", m.add("Reshape", y, m.ints(0, -1, heads * dims)), m.weight(heads * dims, 8)), 8


def recurrent(m: Maker, x: str, c: int) -> tuple[str, int]:
    kind, gates = (("LSTM", 4), ("GRU", 3), ("RNN", 1))[m.pick(3)]
    hidden, directions = 6, 1 + m.pick(2)
    weights = [m.weight(directions, gates * hidden, c), m.weight(directions, gates * hidden, hidden)]
    weights += [m.weight(directions, 2 * gates * hidden)] if m.pick(2) else [""]
    y = m.add("Transpose", x, perm=[1, 0, 2])
    if m.pick(2):
        shape = m.add("Concat", m.ints(directions, 2), m.ints(hidden), axis=0)
        zeros = m.add("ConstantOfShape", shape, value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0]))
        weights += ["", zeros]
    direction = "bidirectional" if directions == 2 else "forward"
    y = m.add(kind, y, *weights, hidden_size=hidden, direction=direction)
    y = m.add("Transpose", y, perm=[2, 0, 1, 3])
    return m.add("Reshape", y, m.ints(0, 0, -1)), directions * hidden


def rotary(m: Maker, x: str, c: int) -> tuple[str, int]:
    half = c // 2
    if c % 2:
        return x, c
    one = m.add("Slice", x, m.ints(0), m.ints(half), m.ints(2))
    other = m.add("Neg", m.add("Slice", x, m.ints(half), m.ints(2**62), m.ints(2)))
    turned = m.add("Concat", other, one, axis=-1)
    return m.add("Add", m.add("Mul", x, m.weight(1, 1, c)), m.add("Mul", turned, m.weight(1, 1, c))), c


def curve(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add(("Relu", "Gelu", "Sigmoid")[m.pick(3)], x), c


def scanned(m: Maker, x: str, c: int) -> tuple[str, int]:
    """A recurrence written as a Loop-like Scan over time."""
    hidden = 6
    inner = Maker(m.pick)
    inner._count = 5000 + m._count
    state, slice_ = m.name("state"), m.name("slice")
    a, b = (
        inner.add("MatMul", slice_, inner.weight(c, hidden)),
        inner.add("MatMul", state, inner.weight(hidden, hidden)),
    )
    new = inner.add("Tanh", inner.add("Add", a, b))
    out = inner.add("Identity", new)
    kind = TensorProto.FLOAT
    body = helper.make_graph(
        inner.nodes,
        m.name("body"),
        [helper.make_tensor_value_info(state, kind, [2, hidden]), helper.make_tensor_value_info(slice_, kind, [2, c])],
        [helper.make_tensor_value_info(new, kind, [2, hidden]), helper.make_tensor_value_info(out, kind, [2, hidden])],
        inner.weights,
    )
    start = m.add("Expand", m.constant(np.zeros((1, 1), np.float32)), m.ints(2, hidden))
    y = m.add("Transpose", x, perm=[1, 0, 2])
    _, y = m.add("Scan", start, y, outputs=2, body=body, num_scan_inputs=1)
    return m.add("Transpose", y, perm=[1, 0, 2]), hidden


def softmax_over_channels(m: Maker, x: str, c: int) -> tuple[str, int]:
    return m.add("Softmax", x, axis=-1), c


SEQUENCES: list[Block] = [
    dense, gated, layer_norm, layer_norm_in_parts, attention, packed_attention, recurrent, rotary, curve, scanned,
    softmax_over_channels,
]  # fmt: skip


def flat(m: Maker, x: str, c: int) -> tuple[str, int]:
    """A picture to a row of numbers, and a Gemm behind."""
    size = SIDE * SIDE
    y = m.add("Flatten", x) if m.pick(2) else m.add("Reshape", x, m.ints(0, -1))
    if m.pick(2):
        return m.add("Gemm", y, m.weight(16, c * size), m.weight(16), transB=1), 16
    return m.add("Gemm", y, m.weight(c * size, 16), m.weight(1, 16)), 16


def to_sequence(m: Maker, x: str, c: int) -> str:
    """[n, c, 8, 8] to [n, 64, c]."""
    y = m.add("Reshape", x, m.ints(0, c if m.pick(2) else 0, -1))
    return m.add("Transpose", y, perm=[0, 2, 1])


def picture_model(pick: Callable[[int], int], blocks: list[Block]) -> onnx.ModelProto:
    """Some blocks on a picture, then a classifier; maybe the last picture is an output as well."""
    m = Maker(pick)
    x, c = conv(m, "x", 3)
    for block in blocks:
        x, c = block(m, x, c)
    outputs = [flat(m, m.add("Relu", x), c)]
    if pick(3) == 0:
        y, _ = conv(m, x, c)
        outputs.append((y, 4))
    y = m.add("Gemm", m.add("Relu", outputs[0][0]), m.weight(16, 5))
    return finished(m, {"x": [2, 3, SIDE, SIDE]}, {y: 2} | dict(outputs[1:]))


def sequence_model(pick: Callable[[int], int], blocks: list[Block]) -> onnx.ModelProto:
    """Tokens, some blocks, one number a class."""
    m = Maker(pick)
    x, c = m.add("Gather", m.weight(20, 12), "x"), 12
    for block in blocks:
        x, c = block(m, x, c)
    return finished(m, {"x": [2, 7]}, {m.add("MatMul", x, m.weight(c, 5)): 3}, TensorProto.INT64)


def mixed_model(pick: Callable[[int], int], pictures: list[Block], sequences: list[Block]) -> onnx.ModelProto:
    """A picture, patches of it as a sequence."""
    m = Maker(pick)
    x, c = conv(m, "x", 3)
    for block in pictures:
        x, c = block(m, x, c)
    x = to_sequence(m, x, c)
    for block in sequences:
        x, c = block(m, x, c)
    y = m.add("MatMul", m.add("ReduceMean", x, m.ints(1), keepdims=0), m.weight(c, 5))
    return finished(m, {"x": [2, 3, SIDE, SIDE]}, {y: 2})
