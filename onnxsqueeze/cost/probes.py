"""Small models of one kind of node each, to be measured: chains of equal nodes, so that differences cancel the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
OPSET = 17
LAYERS = 8  # of models that stream weights


@dataclass(frozen=True)
class Probe:
    """A family of models that differ in how many nodes of a kind they have."""

    kind: str
    what: str
    build: Callable[[int], ModelProto]
    counts: tuple[int, int] = (1, 4)


class _Graph:
    """A graph being written: every node gets its own weights."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._random = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        """A random weight, so small that no activation overflows."""
        return self.constant(self._random.standard_normal(shape, np.float32) * np.float32(0.02))

    def constant(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}", *(f"v{len(self.nodes)}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, **attributes))
        return names[0]

    def model(self, *outputs: str) -> ModelProto:
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.shape))
        graph = helper.make_graph(self.nodes, "probe", [given], made, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _chain(shape: Shape, step: Callable[[_Graph, str, int], str]) -> Callable[[int], ModelProto]:
    """Each node reads what the one before wrote."""

    def build(count: int) -> ModelProto:
        graph, value = _Graph(shape), "x"
        for number in range(count):
            value = step(graph, value, number)
        return graph.model(value)

    return build


def _beside(shape: Shape, step: Callable[[_Graph, str], str]) -> Callable[[int], ModelProto]:
    """All nodes read the input."""

    def build(count: int) -> ModelProto:
        graph = _Graph(shape)
        return graph.model(*(step(graph, "x") for _ in range(count)))

    return build


def product(rows: int, inputs: int, outputs: int) -> Callable[[int], ModelProto]:
    """Matrices [rows, inputs] times [inputs, outputs] and back."""

    def step(graph: _Graph, value: str, number: int) -> str:
        shape = (inputs, outputs) if number % 2 == 0 else (outputs, inputs)
        return graph.add("MatMul", value, graph.weight(*shape))

    return _chain((rows, inputs), step)


def convolution(inputs: int, outputs: int, side: int, size: int, groups: int = 1) -> Callable[[int], ModelProto]:
    """Convolutions from ``inputs`` channels to ``outputs`` and back, the side of the image unchanged."""

    def step(graph: _Graph, value: str, number: int) -> str:
        sizes = (inputs, outputs) if number % 2 == 0 else (outputs, inputs)
        weight = graph.weight(sizes[1], sizes[0] // groups, size, size)
        return graph.add("Conv", value, weight, kernel_shape=[size] * 2, pads=[size // 2] * 4, group=groups)

    return _chain((1, inputs, side, side), step)


def stem(inputs: int, outputs: int, side: int, size: int, stride: int) -> Callable[[int], ModelProto]:
    """Convolutions of few channels, as of an image; pooled, so that no large output changes its layout."""

    def step(graph: _Graph, value: str) -> str:
        weight = graph.weight(outputs, inputs, size, size)
        made = graph.add("Conv", value, weight, kernel_shape=[size] * 2, pads=[size // 2] * 4, strides=[stride] * 2)
        return graph.add("GlobalMaxPool", made)

    return _beside((1, inputs, side, side), step)


def sequence(batch: int, channels: int, length: int, size: int) -> Callable[[int], ModelProto]:
    """Convolutions over one axis, which become products of matrices."""

    def step(graph: _Graph, value: str, _: int) -> str:
        weight = graph.weight(channels, channels, size)
        return graph.add("Conv", value, weight, kernel_shape=[size], pads=[size // 2] * 2)

    return _chain((batch, channels, length), step)


def transposed(inputs: int, outputs: int, side: int, size: int) -> Callable[[int], ModelProto]:
    """Transposed convolutions that double the side."""

    def step(graph: _Graph, value: str) -> str:
        weight = graph.weight(inputs, outputs, size, size)
        pad = (size - 2) // 2
        return graph.add("ConvTranspose", value, weight, kernel_shape=[size] * 2, strides=[2, 2], pads=[pad] * 4)

    return _beside((1, inputs, side, side), step)


def recurrent(op_type: str, length: int, width: int, hidden: int) -> Callable[[int], ModelProto]:
    """Recurrent layers over one sequence."""
    gates = {"LSTM": 4, "GRU": 3}[op_type]

    def step(graph: _Graph, value: str) -> str:
        weights = [graph.weight(1, gates * hidden, width), graph.weight(1, gates * hidden, hidden)]
        return graph.add(op_type, value, *weights, hidden_size=hidden)

    return _beside((length, 1, width), step)


def unary(op_type: str, *shape: int, **attributes: Any) -> Callable[[int], ModelProto]:
    """A chain of operators with one input."""
    return _chain(shape, lambda graph, value, _: graph.add(op_type, value, **attributes))


def binary(op_type: str, constant: Shape, *shape: int) -> Callable[[int], ModelProto]:
    """A chain of operators with a constant second input."""
    return _chain(shape, lambda graph, value, _: graph.add(op_type, value, graph.weight(*constant)))


def _squares(shape: Shape) -> Callable[[int], ModelProto]:
    """A chain in which each node reads two activations."""
    return _chain(shape, lambda graph, value, number: graph.add("Add", value, "x" if number else value))


def _normalized(rows: int, width: int) -> Callable[[int], ModelProto]:
    def step(graph: _Graph, value: str, _: int) -> str:
        return graph.add("LayerNormalization", value, graph.weight(width), graph.weight(width))

    return _chain((rows, width), step)


def _pooled(channels: int, side: int) -> Callable[[int], ModelProto]:
    """Pools behind a convolution, whose layout they keep."""

    def build(count: int) -> ModelProto:
        graph = _Graph((1, channels, side, side))
        value = graph.add("Conv", "x", graph.weight(channels, channels, 1, 1))
        for _ in range(count):
            value = graph.add("MaxPool", value, kernel_shape=[3, 3], pads=[1] * 4)
        return graph.model(graph.add("GlobalMaxPool", value))

    return build


def _resized(mode: str, channels: int, side: int) -> Callable[[int], ModelProto]:
    def step(graph: _Graph, value: str) -> str:
        scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
        return graph.add("Resize", value, "", scales, mode=mode, coordinate_transformation_mode="half_pixel")

    return _beside((1, channels, side, side), step)


def _turned(order: tuple[int, ...], *shape: int) -> Callable[[int], ModelProto]:
    """Transpositions, kept apart by an operator that works in place."""

    def step(graph: _Graph, value: str) -> str:
        return graph.add("Transpose", value, perm=list(order))

    return _beside(shape, step)


def _looked_up(rows: int, width: int, count: int) -> Callable[[int], ModelProto]:
    def step(graph: _Graph, value: str) -> str:
        index = graph.constant(np.random.default_rng(1).integers(0, rows, count))
        return graph.add("Gather", value, index)

    return _beside((rows, width), step)


def _joined(channels: int, side: int) -> Callable[[int], ModelProto]:
    return _beside((1, channels, side, side), lambda graph, value: graph.add("Concat", value, value, axis=1))


def _cut(channels: int, side: int) -> Callable[[int], ModelProto]:
    def step(graph: _Graph, value: str) -> str:
        bounds = [graph.constant(np.array([n], np.int64)) for n in (0, channels // 2, 1)]
        return graph.add("Slice", value, *bounds)

    return _beside((1, channels, side, side), step)


def changing(channels: int, side: int) -> Callable[[int], ModelProto]:
    """Convolutions between operators that do not know their layout."""

    def step(graph: _Graph, value: str, _: int) -> str:
        value = graph.add("Conv", value, graph.weight(channels, channels, 1, 1))
        return graph.add("Max", value, graph.weight(1))

    return _chain((1, channels, side, side), step)


PROBES: tuple[Probe, ...] = (
    Probe("elementwise", "Add 16k", _squares((1, 1 << 14))),
    Probe("elementwise", "Max 64x28x28", binary("Max", (1,), 1, 64, 28, 28)),
    Probe("elementwise", "Mul 240x12x132", binary("Mul", (1,), 1, 240, 12, 132)),
    Probe("elementwise", "Add 197x384", binary("Add", (384,), 1, 197, 384)),
    Probe("elementwise", "HardSigmoid 64x56x56", unary("HardSigmoid", 1, 64, 56, 56)),
    Probe("transcendental", "Sigmoid 16k", unary("Sigmoid", 1, 1 << 14)),
    Probe("transcendental", "Erf 197x1536", unary("Erf", 1, 197, 1536)),
    Probe("transcendental", "Tanh 64x28x28", unary("Tanh", 1, 64, 28, 28)),
    Probe("softmax", "Softmax 6x197x197", unary("Softmax", 1, 6, 197, 197)),
    Probe("softmax", "Softmax 8x64x64", unary("Softmax", 1, 8, 64, 64)),
    Probe("normalization", "LayerNormalization 197x384", _normalized(197, 384)),
    Probe("normalization", "LayerNormalization 64x120", _normalized(64, 120)),
    Probe("gemm", "197x384x384", product(197, 384, 384)),
    Probe("gemm", "197x384x1536", product(197, 384, 1536)),
    Probe("gemm", "66x120x240", product(66, 120, 240)),
    Probe("gemm", "512x64x64", product(512, 64, 64)),
    Probe("gemm", "16x256x256", product(16, 256, 256)),
    Probe("gemv", "256x256", product(1, 256, 256)),
    Probe("gemv", "96x128", product(1, 96, 128)),
    Probe("conv1x1", "64-256, 28x28", convolution(64, 256, 28, 1)),
    Probe("conv1x1", "32-144, 56x56", convolution(32, 144, 56, 1)),
    Probe("conv1x1", "480-480, 14x14", convolution(480, 480, 14, 1)),
    Probe("conv1x1", "512-512, 7x7", convolution(512, 512, 7, 1)),
    Probe("conv1x1", "64-240, 1x1", convolution(64, 240, 1, 1)),
    Probe("conv", "32-32, 56x56", convolution(32, 32, 56, 3)),
    Probe("conv", "128-128, 14x14", convolution(128, 128, 14, 3)),
    Probe("conv", "256-256, 7x7", convolution(256, 256, 7, 3)),
    Probe("conv", "24-24, 9x9", convolution(24, 24, 9, 3)),
    Probe("stem", "3-32, 3x3, 224x224", stem(3, 32, 224, 3, 2), (1, 3)),
    Probe("stem", "3-64, 7x7, 224x224", stem(3, 64, 224, 7, 2), (1, 3)),
    Probe("stem", "8-16, 5x5, 88x88", stem(8, 16, 88, 5, 1), (1, 3)),
    Probe("im2col", "32 x 128-128, 3, 4", sequence(32, 128, 4, 3), (1, 3)),
    Probe("im2col", "64-64, 3, 256", sequence(1, 64, 256, 3), (1, 3)),
    Probe("depthwise", "144, 3x3, 56x56", convolution(144, 144, 56, 3, 144)),
    Probe("depthwise", "480, 5x5, 14x14", convolution(480, 480, 14, 5, 480)),
    Probe("depthwise", "480, 3x3, 14x14", convolution(480, 480, 14, 3, 480)),
    Probe("conv_transpose", "96-24, 2x2, 56x56", transposed(96, 24, 56, 2), (1, 3)),
    Probe("conv_transpose", "128-64, 4x4, 32x32", transposed(128, 64, 32, 4), (1, 3)),
    Probe("recurrent", "LSTM 32 steps, 128-128", recurrent("LSTM", 32, 128, 128), (1, 3)),
    Probe("recurrent", "GRU 32 steps, 256-256", recurrent("GRU", 32, 256, 256), (1, 3)),
    Probe("pool", "MaxPool 64x56x56", _pooled(64, 56)),
    Probe(
        "reduce", "GlobalAveragePool 480x14x14", _beside((1, 480, 14, 14), lambda g, v: g.add("GlobalAveragePool", v))
    ),
    Probe("reduce", "ReduceMean 197x384", _beside((1, 197, 384), lambda g, v: g.add("ReduceMean", v, axes=[-1]))),
    Probe("resize", "linear 24x56x56", _resized("linear", 24, 56), (1, 3)),
    Probe("cubic", "cubic 16x16x16", _resized("cubic", 16, 16), (1, 2)),
    Probe("transpose", "197x6x64", _turned((0, 2, 1, 3), 1, 197, 6, 64)),
    Probe("transpose", "64x28x28", _turned((0, 2, 3, 1), 1, 64, 28, 28)),
    Probe("move", "Concat 32x28x28", _joined(32, 28)),
    Probe("move", "Slice 64x28x28", _cut(64, 28)),
    Probe("gather", "64 rows of 128", _looked_up(4000, 128, 64)),
    Probe("layout", "240x12x12", changing(240, 12)),
    Probe("layout", "64x28x28", changing(64, 28)),
)
"""In the order in which they are fitted: later ones hold nodes of earlier kinds."""

TINY = Probe("elementwise", "Abs of 1 value", unary("Abs", 1, 1), (1, 33))
"""What a node costs that does nothing."""


def streams(nbytes: int) -> Probe:
    """A chain of vectors times matrices whose weights take so many bytes together."""
    width = max(64, int((nbytes / LAYERS / 4) ** 0.5))
    return Probe("gemv", f"{LAYERS} x {width}x{width}", product(1, width, width), (LAYERS, LAYERS))


def inputs(model: ModelProto) -> Iterator[tuple[str, Any]]:
    """Values for a probe's input."""
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        yield value.name, np.random.default_rng(2).standard_normal(shape).astype(np.float32)
