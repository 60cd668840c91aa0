"""A table of small models, one for each way in which weights stand in real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

Array = np.ndarray[Any, Any]


def gaussian(*shape: int, seed: int = 0, kind: Any = np.float32) -> Array:
    return (np.random.default_rng(seed + sum(shape)).standard_normal(shape) / 4).astype(kind)


def build(text: str, opset: int = 17, **tensors: Array) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def mlp(kind: Any = np.float32, opset: int = 17, change: Callable[[Array], Array] = lambda w: w) -> onnx.ModelProto:
    name = {np.float32: "float", np.float16: "float16", np.float64: "double"}[kind]
    tensors = {"a": gaussian(64, 48, kind=kind), "b": gaussian(48, 48, kind=kind), "c": gaussian(48, 10, kind=kind)}
    return build(
        f"({name}[2,64] x) => ({name}[m,n] y) {{ h = MatMul(x, a)  r = Relu(h)  k = MatMul(r, b)  s = Relu(k)"
        "  y = MatMul(s, c) }",
        opset,
        **{key: change(value) for key, value in tensors.items()},
    )


def conv() -> onnx.ModelProto:
    norm = {name: gaussian(32, seed=i) for i, name in enumerate(("gamma", "beta", "mean"))}
    return build(
        "(float[1,16,8,8] x) => (float[a,b,c,d] y) { h = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w)"
        "  n = BatchNormalization(h, gamma, beta, mean, var)  r = Relu(n)  d = Conv <group=32> (r, deep)"
        "  y = Conv(d, point) }",
        w=gaussian(32, 16, 3, 3),
        deep=gaussian(32, 1, 3, 3),
        point=gaussian(48, 32, 1, 1),
        var=np.abs(gaussian(32)) + np.float32(0.5),
        **norm,
    )


def grouped() -> onnx.ModelProto:
    text = "(float[1,32,6,6] x) => (float[a,b,c,d] y) { h = Conv <group=4> (x, w)  y = Relu(h) }"
    return build(text, w=gaussian(64, 8, 3, 3))


def transposed() -> onnx.ModelProto:
    text = "(float[1,32,5,5] x) => (float[a,b,c,d] y) { h = ConvTranspose <strides=[2,2]> (x, w)  y = Relu(h) }"
    return build(text, w=gaussian(32, 16, 3, 3))


def biased() -> onnx.ModelProto:
    text = "(float[2,64] x) => (float[a,b] y) { h = MatMul(x, w)  y = Add(h, b) }"
    return build(text, w=gaussian(64, 80), b=gaussian(80))


def recurrent(op_type: str, gates: int) -> onnx.ModelProto:
    text = f"(float[5,1,24] x) => (float[a,b,c,d] y) {{ y, h = {op_type} <hidden_size=32> (x, w, r, b) }}"
    return build(text, w=gaussian(1, gates * 32, 24), r=gaussian(1, gates * 32, 32), b=gaussian(1, gates * 64))


def embedding() -> onnx.ModelProto:
    text = "(int64[1,4] x) => (float[a,b,c] y) { e = Gather(table, x)  y = MatMul(e, w) }"
    return build(text, table=gaussian(200, 32), w=gaussian(32, 64))


def in_constants() -> onnx.ModelProto:
    model = biased()
    for tensor in model.graph.initializer:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    return model


def in_branches() -> onnx.ModelProto:
    def branch(name: str, seed: int) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [2, 48])
        weight = numpy_helper.from_array(gaussian(64, 48, seed=seed), f"{name}_w")
        node = helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_y"])
        return helper.make_graph([node], name, [], [output], [weight])

    node = helper.make_node("If", ["which"], ["y"], then_branch=branch("then", 1), else_branch=branch("else", 2))
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 64]),
        helper.make_tensor_value_info("which", TensorProto.BOOL, []),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 48])
    graph = helper.make_graph([node], "g", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def shared() -> onnx.ModelProto:
    text = "(float[2,64] x) => (float[a,b] y) { h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, w) }"
    return build(text, w=gaussian(64, 64))


def sparse(weight: Array) -> Array:
    return np.where(np.abs(weight) < 0.3, 0, weight).astype(weight.dtype)


def signed_zeros(weight: Array) -> Array:
    return np.where(np.abs(weight) < 0.2, np.float32(-0.0), weight).astype(weight.dtype)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mlp": mlp,
    "conv": conv,
    "grouped-conv": grouped,
    "conv-transpose": transposed,
    "matmul-add": biased,
    "lstm": lambda: recurrent("LSTM", 4),
    "gru": lambda: recurrent("GRU", 3),
    "embedding": embedding,
    "constants": in_constants,
    "branches": in_branches,
    "shared": shared,
    "float16": lambda: mlp(np.float16),
    "float64": lambda: mlp(np.float64),
    "opset-9": lambda: mlp(opset=9),
    "opset-21": lambda: mlp(opset=21),
    "sparse": lambda: mlp(change=sparse),
    "signed-zeros": lambda: mlp(change=signed_zeros),
    "all-zero": lambda: mlp(change=np.zeros_like),
    "all-equal": lambda: mlp(change=np.ones_like),
}
