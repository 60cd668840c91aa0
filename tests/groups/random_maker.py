"""What random graphs are put together with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
SIDE = 8  # of pictures


class Maker:
    """Nodes and weights of a graph under construction; ``pick`` draws what is left open."""

    def __init__(self, pick: Callable[[int], int], opset: int = 21) -> None:
        self.pick, self.opset = pick, opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)
        self._count = 0

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self.name(op_type.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, *shape: int, low: float | None = None) -> str:
        values = self._random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 4)
        if low is not None:
            values = np.abs(values) + low
        return self.constant(values.astype(np.float32))

    def constant(self, values: Any) -> str:
        name = self.name("w")
        if self.pick(4) == 0:
            tensor = numpy_helper.from_array(np.asarray(values), name)
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"{name}_node", value=tensor))
        else:
            self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))


Block = Callable[[Maker, str, int], tuple[str, int]]  # value and channels in, value and channels out


def finished(
    m: Maker, inputs: dict[str, list[int]], outputs: dict[str, int], kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """The finished model; outputs by name and number of axes."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}_{i}" for i in range(ndim)])
        for name, ndim in outputs.items()
    ]
    graph = helper.make_graph(m.nodes, "g", given, made, m.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", m.opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)
