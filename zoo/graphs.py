"""Graphs of classic networks with seeded random weights, for speed and memory only: never for accuracy.

Trained weights of these are in no package. Weights are drawn as He et al. (2015) propose, so that activations
neither vanish nor explode and timings are those of a working network.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

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

    def normal_conv(self, value: str, inputs: int, outputs: int, size: int, stride: int = 1, scale: float = 1) -> str:
        """Convolution without bias, then batch normalization of neutral statistics."""
        kernel = self._drawn((outputs, inputs, size, size))
        shape = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
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
