"""Small models with sparse weights, and the same packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

from onnxsqueeze.model import Model
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.pipeline import Context
from onnxsqueeze.pipeline.lower import lower

Array = np.ndarray[Any, Any]


def sparse(*shape: int, zeros: float = 0.9, seed: int = 0, values: int | None = None) -> Array:
    """Random weights; ``values``: how many different ones."""
    rng = np.random.default_rng(seed + sum(shape))
    weight = rng.standard_normal(shape).astype(np.float32) / 8
    if values is not None:
        weight = rng.choice(np.linspace(-0.5, 0.5, values, dtype=np.float32), shape)
    weight[rng.random(shape) < zeros] = 0
    return weight


def build(text: str, opset: int = 17, **tensors: Array) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def packed(proto: onnx.ModelProto) -> bytes:
    """The model with its weights packed, bit for bit the same."""
    model = Model.load(proto)
    Huffman()(model, Context())
    lower(model, Context())
    assert model.is_packed
    data: bytes = model.proto.SerializeToString()
    return data
