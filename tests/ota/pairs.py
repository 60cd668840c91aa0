"""Pairs of models: an installed one, and the next version of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxsqueeze.compress import compress

Array = np.ndarray[Any, Any]
PIPELINE = "prune,share,huffman"
LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


@dataclass(frozen=True)
class Versions:
    """Two versions of a model."""

    old_dense: Path
    new_dense: Path
    old: Path
    new: Path
    kept: Path  # the new one, compressed with the old one's codebooks


def small() -> onnx.ModelProto:
    """Two layers of a trained LeNet-5 on their own: 30,000 weights."""
    lenet = onnx.load(LENET)
    kept = {t.name: t for t in lenet.graph.initializer if tuple(t.dims) in ((50, 20, 5, 5), (10, 500), (500, 10))}
    convolution, matrix = sorted(kept.values(), key=lambda t: -len(t.dims))
    nodes = [
        helper.make_node("Conv", ["x", convolution.name], ["y"]),
        helper.make_node("Gemm", ["h", matrix.name], ["z"], transB=int(matrix.dims[0] == 10)),
    ]
    shapes = {"x": [1, 20, 9, 9], "h": [1, 500], "z": [1, 10], "y": [1, 50, 5, 5]}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "g", [infos["x"], infos["h"]], [infos["z"], infos["y"]], [convolution, matrix])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def retrained(model: onnx.ModelProto, share: float = 0.02, seed: int = 0, only: str = "") -> onnx.ModelProto:
    """The model with each weight moved by ``share`` of its tensor's deviation (or only the tensor of a name)."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rng = np.random.default_rng(seed)
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size and only in ("", tensor.name):
            moved = values + share * values.std() * rng.standard_normal(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(values.dtype), tensor.name))
    return made


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with all its initializers under other names."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = {tensor.name: f"renamed_{i}" for i, tensor in enumerate(made.graph.initializer)}
    for tensor in made.graph.initializer:
        tensor.name = names[tensor.name]
    for node in made.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return made


def grown(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with one more layer and one more output."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    last = made.graph.output[0]
    size = last.type.tensor_type.shape.dim[-1].dim_value
    info = helper.make_tensor_value_info("more", TensorProto.FLOAT, ["n", 40])
    weight = np.random.default_rng(1).standard_normal((size, 40)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, "more.weight"))
    made.graph.node.append(helper.make_node("MatMul", [last.name, "more.weight"], ["more"]))
    made.graph.output.append(info)
    return made


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def external(model: onnx.ModelProto, folder: Path, name: str) -> Path:
    """The model in a folder of its own, with its weights in a file beside it."""
    folder.mkdir(exist_ok=True)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    path = folder / name
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    return path


def compressed(model: onnx.ModelProto | Path, path: Path, passes: str = PIPELINE, base: Path | None = None) -> Path:
    compress(model, path, passes=passes, jobs=2, ota_base=base)
    return path
