"""EfficientNet-lite0 as ONNX: the package ships PyTorch weights only, so the graph is written here.

Batch normalization is kept as it was trained. The weights are read without PyTorch, by an unpickler that
knows four harmless names and nothing else.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo.net import Net

Weights = dict[str, NDArray[Any]]

_KINDS = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_HALVING = (1, 3, 5, 11)  # blocks of stride 2
_BLOCKS = 16


def convert(weights: Path) -> Path:
    """Path of the ONNX file beside the weights, built anew when it is missing or differs."""
    target = weights.with_name("efficientnet-lite0.onnx")
    built = _build(read_weights(weights))
    if not target.is_file() or target.read_bytes() != built:
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial_file:
            partial_file.write(built)
            partial_file.flush()
            os.fsync(partial_file.fileno())
        Path(partial_file.name).replace(target)
    return target


def read_weights(path: Path) -> Weights:
    """Arrays by name from torch.save's older format: five pickles, then each storage's size and values."""
    storages: dict[str, tuple[str, int]] = {}
    try:
        with path.open("rb") as file:
            for _ in range(3):  # magic number, protocol, sizes of C types
                _Unpickler(file, storages).load()
            views = _Unpickler(file, storages).load()
            values = {key: _read_storage(file, *storages[key]) for key in _Unpickler(file, storages).load()}
        return {name: view(values) for name, view in views.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"cannot read the weights in {path}: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Turns tensors into functions from the storages, which come later in the file, to arrays."""

    def __init__(self, file: IO[bytes], storages: dict[str, tuple[str, int]]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view_of
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _KINDS:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, count, _ = pid
        self._storages[key] = (_KINDS[kind], count)
        return key


def _view_of(
    key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> Callable[[Weights], NDArray[Any]]:
    return partial(_view, key, offset, shape, strides)


def _view(key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], values: Weights) -> NDArray[Any]:
    """The tensor at that place of its storage; kernels lie there in TensorFlow's order of axes."""
    flat = values[key]
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides), default=0) < 0 or last >= len(flat):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {len(flat)} values")
    steps = [stride * flat.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _read_storage(file: IO[bytes], kind: str, count: int) -> NDArray[Any]:
    stored = int.from_bytes(file.read(8), "little")
    raw = file.read(count * np.dtype(kind).itemsize)
    if stored != count:
        raise ValueError(f"a storage of {stored} values was announced with {count}")
    return np.frombuffer(raw, kind, count)


def _build(weights: Weights) -> bytes:
    net = Net()
    low = net.weight("zero", np.zeros((), np.float32))
    high = net.weight("six", np.full((), 6, np.float32))

    def layer(value: str, conv: str, norm: str, stride: int = 1, clip: bool = True) -> str:
        kernel = weights[f"{conv}.weight"]
        size = kernel.shape[2]
        before, after = (
            (size - stride) // 2,
            (size - stride + 1) // 2,
        )  # TensorFlow's padding, the odd pixel last
        value = net.add(
            "Conv", value, net.weight(f"{conv}.weight", kernel),
            strides=[stride] * 2, kernel_shape=[size] * 2, pads=[before, before, after, after],
            group=kernel.shape[0] if "depthwise" in conv else 1,
        )  # fmt: skip
        parts = ("weight", "bias", "running_mean", "running_var")
        names = [net.weight(f"{norm}.{part}", weights[f"{norm}.{part}"]) for part in parts]
        value = net.add("BatchNormalization", value, *names, epsilon=1e-3)
        return net.add("Clip", value, low, high) if clip else value

    value = layer("image", "_conv_stem", "_bn0", stride=2)
    for block in range(_BLOCKS):
        entry, prefix = value, f"_blocks.{block}."
        stride = 2 if block in _HALVING else 1
        if block:
            value = layer(value, f"{prefix}_expand_conv", f"{prefix}_bn0")
        value = layer(value, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        value = layer(value, f"{prefix}_project_conv", f"{prefix}_bn2", clip=False)
        project = weights[f"{prefix}_project_conv.weight"]
        first = weights[f"{prefix}_expand_conv.weight"] if block else None
        if first is not None and stride == 1 and first.shape[1] == project.shape[0]:
            value = net.add("Add", value, entry)
    value = net.add("Flatten", net.add("GlobalAveragePool", layer(value, "_conv_head", "_bn1")))
    dense = [net.weight(f"_fc.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    logits = net.add("Gemm", value, *dense, transB=1)
    model = net.model("efficientnet-lite0", "image", (3, 224, 224), logits, 1000)
    return bytes(model.SerializeToString(deterministic=True))
