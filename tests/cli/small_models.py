"""Small models written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]


def model_with(weight: Array, nodes: list[onnx.NodeProto], output: str = "y") -> onnx.ModelProto:
    """A one-weight model: x [n, rows] in, ``output`` out."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.shape[0]])
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", weight.shape[1]])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def gaussian(rows: int, columns: int) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
