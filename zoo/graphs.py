"""Graphs of classic networks with seeded random weights, for speed and memory only: never for accuracy.

Trained weights of these are in no package. Weights are drawn as He et al. (2015) propose, so that activations
neither vanish nor explode and timings are those of a working network.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxsqueeze.zoo.net import Net

_LARGEST_WIDTH = 8000  # 64 million weights a layer
_ROWS = 1000


class _Random(Net):
    """A Net whose layers draw their own weights."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = np.random.default_rng(seed)
        self._layers = 0

    def _drawn(self, shape: tuple[int, ...]) -> str:
        self._layers += 1
        return self.weight(f"layer{self._layers}.weight", _he(self._random, shape))

    def _zeros(self, count: int) -> str:
        return self.weight(f"layer{self._layers}.bias", np.zeros(count, np.float32))

    def conv(self, value: str, inputs: int, outputs: int, size: int, stride: int = 1, pad: int = 0) -> str:
        """Convolution with bias."""
        weights = [self._drawn((outputs, inputs, size, size)), self._zeros(outputs)]
        return self.add("Conv", value, *weights, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def normal_conv(
        self, value: str, inputs: int, outputs: int, size: int, stride: int = 1, scale: float = 1, group: int = 1
    ) -> str:
        """Convolution without bias, then batch normalization of neutral statistics."""
        kernel = self._drawn((outputs, inputs // group, size, size))
        shape: dict[str, Any] = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
        if group > 1:
            shape["group"] = group
        value = self.add("Conv", value, kernel, **shape)
        kinds = {"scale": scale, "bias": 0, "mean": 0, "variance": 1}
        name = f"layer{self._layers}"
        names = [self.weight(f"{name}.{kind}", np.full(outputs, fill, np.float32)) for kind, fill in kinds.items()]
        return self.add("BatchNormalization", value, *names)

    def gemm(self, value: str, inputs: int, outputs: int) -> str:
        """Fully connected layer with bias, the weight as (outputs, inputs)."""
        return self.add("Gemm", value, self._drawn((outputs, inputs)), self._zeros(outputs), transB=1)

    def pool(self, value: str, size: int, stride: int, pad: int = 0, ceil: int = 0) -> str:
        """Maximum over squares."""
        return self.add("MaxPool", value, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=ceil)

    def head(self, value: str, widths: tuple[int, ...]) -> str:
        """Flatten, then fully connected layers with ReLU between."""
        value = self.add("Flatten", value)
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            value = self.gemm(self.add("Relu", value) if number else value, inputs, outputs)
        return value


def _he(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    deviation = math.sqrt(2 / math.prod(shape[1:]))
    return random.standard_normal(shape, np.float32) * np.float32(deviation)


def alexnet(seed: int = 0) -> onnx.ModelProto:
    """AlexNet in one tower, 61,100,840 parameters, fc6 9216 x 4096. Random weights: speed and memory only."""
    net = _Random(seed)
    value = net.pool(net.add("Relu", net.conv("image", 3, 64, 11, stride=4, pad=2)), 3, 2)
    value = net.pool(net.add("Relu", net.conv(value, 64, 192, 5, pad=2)), 3, 2)
    for inputs, outputs in ((192, 384), (384, 256), (256, 256)):
        value = net.add("Relu", net.conv(value, inputs, outputs, 3, pad=1))
    value = net.head(net.pool(value, 3, 2), (9216, 4096, 4096, 1000))
    return net.model("alexnet", "image", (3, 224, 224), value, 1000)


def vgg16(seed: int = 0) -> onnx.ModelProto:
    """VGG-16, 138,357,544 parameters. Random weights: speed and memory only."""
    net, value, inputs = _Random(seed), "image", 3
    for outputs, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            value = net.add("Relu", net.conv(value, inputs, outputs, 3, pad=1))
            inputs = outputs
        value = net.pool(value, 2, 2)
    return net.model("vgg16", "image", (3, 224, 224), net.head(value, (25088, 4096, 4096, 1000)), 1000)


def squeezenet(seed: int = 0) -> onnx.ModelProto:
    """SqueezeNet 1.0, 1,248,424 parameters. Random weights: speed and memory only."""
    net = _Random(seed)
    value, inputs = net.pool(net.add("Relu", net.conv("image", 3, 96, 7, stride=2)), 3, 2), 96
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        value = net.add("Relu", net.conv(value, inputs, squeeze, 1))
        sides = [net.add("Relu", net.conv(value, squeeze, 4 * squeeze, size, pad=size // 2)) for size in (1, 3)]
        value, inputs = net.add("Concat", *sides, axis=1), 8 * squeeze
        if number in (2, 6):
            value = net.pool(value, 3, 2, ceil=1)
    value = net.add("GlobalAveragePool", net.add("Relu", net.conv(value, 512, 1000, 1)))
    return net.model("squeezenet", "image", (3, 224, 224), net.add("Flatten", value), 1000)


def resnet50(seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 with its batch normalization, 25,557,032 parameters. Random weights: speed, memory only."""
    net = _Random(seed)
    value, inputs = net.pool(net.add("Relu", net.normal_conv("image", 3, 64, 7, stride=2)), 3, 2, pad=1), 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = 1 if block else first
            side = value if block else net.normal_conv(value, inputs, 4 * width, 1, stride)
            value = net.add("Relu", net.normal_conv(value, inputs, width, 1))
            value = net.add("Relu", net.normal_conv(value, width, width, 3, stride))
            value = net.add("Relu", net.add("Add", net.normal_conv(value, width, 4 * width, 1, scale=0.25), side))
            inputs = 4 * width
    value = net.head(net.add("GlobalAveragePool", value), (2048, 1000))
    return net.model("resnet50", "image", (3, 224, 224), value, 1000)


def mobilenet(seed: int = 0) -> onnx.ModelProto:
    """MobileNet with its batch normalization, 4,231,976 parameters. Random weights: speed, memory only."""
    net = _Random(seed)
    value, inputs = net.add("Relu", net.normal_conv("image", 3, 32, 3, stride=2)), 32
    for outputs, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        value = net.add("Relu", net.normal_conv(value, inputs, inputs, 3, stride, group=inputs))
        value = net.add("Relu", net.normal_conv(value, inputs, outputs, 1))
        inputs = outputs
    value = net.head(net.add("GlobalAveragePool", value), (1024, 1000))
    return net.model("mobilenet", "image", (3, 224, 224), value, 1000)


class _Encoder(_Random):
    """A transformer as exporters write it: matrix products and biases apart, shapes computed in the graph."""

    def __init__(self, seed: int, width: int, heads: int) -> None:
        super().__init__(seed)
        self._width, self._heads = width, heads

    def dense(self, value: str, inputs: int, outputs: int) -> str:
        """Fully connected layer, the weight as (inputs, outputs)."""
        return self.add("Add", self.add("MatMul", value, self._drawn((inputs, outputs))), self._zeros(outputs))

    def ints(self, *values: int) -> str:
        """A Constant node."""
        output = f"constant_{len(self.nodes)}"
        tensor = onnx.numpy_helper.from_array(np.array(values, np.int64), output)
        self.nodes.append(onnx.helper.make_node("Constant", [], [output], value=tensor))
        return output

    def norm(self, value: str) -> str:
        """Layer normalization of neutral scale."""
        names = [f"norm{len(self.nodes)}.{kind}" for kind in ("scale", "bias")]
        fills = (self.weight(n, np.full(self._width, f, np.float32)) for n, f in zip(names, (1, 0), strict=True))
        return self.add("LayerNormalization", value, *fills)

    def split(self, value: str, order: list[int]) -> str:
        """[n, t, width] to heads, then in the given order of (n, t, head, dimension)."""
        shape = self.add("Shape", value)
        lengths = [self.add("Gather", shape, self.ints(place), axis=0) for place in (0, 1)]
        sizes = self.ints(self._heads), self.ints(self._width // self._heads)
        return self.add(
            "Transpose", self.add("Reshape", value, self.add("Concat", *lengths, *sizes, axis=0)), perm=order
        )

    def layer(self, value: str) -> str:
        """Attention and two fully connected layers, each behind a normalization and beside a residual."""
        width, norm = self._width, self.norm(value)
        query, key, values = (self.dense(norm, width, width) for _ in range(3))
        scores = self.add("MatMul", self.split(query, [0, 2, 1, 3]), self.split(key, [0, 2, 3, 1]))
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), self.split(values, [0, 2, 1, 3]))
        mixed = self.add("Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), self.ints(0, -1, width))
        value = self.add("Add", value, self.dense(mixed, width, width))
        inner = self.add("Gelu", self.dense(self.norm(value), width, 4 * width))
        return self.add("Add", value, self.dense(inner, 4 * width, width))


def transformer(layers: int, width: int = 768, heads: int = 12, seed: int = 0) -> onnx.ModelProto:
    """Encoder layers on sequences of 64. Random weights: speed and memory only."""
    net, value = _Encoder(seed, width, heads), "x"
    for _ in range(layers):
        value = net.layer(value)
    model = net.model("transformer", "x", (64, width), value, width)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", 64, width]))
    model.opset_import[0].version = 20  # Gelu
    return model


def mlp(width: int, depth: int, seed: int = 0) -> onnx.ModelProto:
    """Square fully connected layers with bias, ReLU between. Random weights: speed and memory only."""
    net, value = _Random(seed), "x"
    for layer in range(depth):
        value = net.gemm(net.add("Relu", value) if layer else value, width, width)
    return net.model("mlp", "x", (width,), value, width)


def wide(parameters: int, path: Path, seed: int = 0) -> None:
    """Writes a bias-free MLP of that many weights (down to a whole row) to `path`, its values to `path`.data.

    Layers have at most 64 million weights and are written a slice at a time, so this takes under 100 MB of
    memory at any size. Random weights: speed and memory only.
    """
    width = min(_LARGEST_WIDTH, math.isqrt(parameters))
    rows = [width] * (parameters // width**2)
    if rest := parameters % width**2 // width:
        rows.append(rest)
    random, net, value = np.random.default_rng(seed), Net(), "x"
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for layer, count in enumerate(rows):
            tensor = TensorProto(name=f"layer{layer}.weight", data_type=TensorProto.FLOAT, dims=[count, width])
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": data.name, "offset": str(file.tell()), "length": str(4 * count * width)}
            for key, text in place.items():
                tensor.external_data.add(key=key, value=text)
            for start in range(0, count, _ROWS):
                file.write(_he(random, (min(_ROWS, count - start), width)).data)
            net.weights.append(tensor)
            value = net.add("Gemm", net.add("Relu", value) if layer else value, tensor.name, transB=1)
    onnx.save(net.model("wide", "x", (width,), value, rows[-1]), path)
