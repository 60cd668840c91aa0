"""Output types of operators in onnxruntime's domain, which onnx cannot infer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from onnx import NodeProto, TensorProto, TypeProto, helper, shape_inference

from onnxsqueeze.cost.values import Value, tensor_type

Shape = tuple[int, ...]
Types = list[TypeProto | None]

DOMAIN = "com.microsoft"


def contrib_types(node: NodeProto, inputs: Sequence[Value | None]) -> Types | None:
    """The types of the outputs; None for operators of other domains and those that are not in the table."""
    if node.domain != DOMAIN or node.op_type not in _TYPES:
        return None
    first = inputs[0] if inputs else None
    if first is None or first.shape is None:
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    try:
        found = _TYPES[node.op_type](list(inputs), attributes)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return (found + [None] * len(node.output))[: len(node.output)]


def _same(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    return [inputs[0].type]


def _float(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    return [tensor_type(TensorProto.FLOAT, inputs[0].shape)]


def _broadcast(positions: tuple[int, int]) -> Callable[[list[Any], dict[str, Any]], Types]:
    def types(inputs: list[Any], attributes: dict[str, Any]) -> Types:
        one, other = (inputs[p].shape for p in positions)
        rank = max(len(one), len(other))
        padded = [(1,) * (rank - len(s)) + s for s in (one, other)]
        return [tensor_type(inputs[0].dtype, tuple(max(sizes) for sizes in zip(*padded, strict=True)))]

    return types


def _like(op_type: str, version: int, count: int) -> Callable[[list[Any], dict[str, Any]], Types]:
    """As a standard operator on the first ``count`` inputs."""
    from onnx import defs

    schema = defs.get_schema(op_type, version, "")

    def types(inputs: list[Any], attributes: dict[str, Any]) -> Types:
        names = [f"i{p}" if v is not None else "" for p, v in enumerate(inputs[:count])]
        known = {k: v for k, v in attributes.items() if k in schema.attributes}
        node = helper.make_node(op_type, names, ["o"], **known)
        given = {name: v.type for name, v in zip(names, inputs, strict=False) if v is not None}
        imports = [helper.make_opsetid("", version)]
        return [shape_inference.infer_node_outputs(schema, node, given, opset_imports=imports, ir_version=8).get("o")]

    return types


def _product(left: int, right: int) -> Callable[[list[Any], dict[str, Any]], Types]:
    def types(inputs: list[Any], attributes: dict[str, Any]) -> Types:
        one, other = inputs[left].shape, inputs[right].shape
        if attributes.get("transA"):
            one = (*one[:-2], one[-1], one[-2])
        if attributes.get("transB"):
            other = (*other[:-2], other[-1], other[-2])
        batch = max(one[:-2], other[:-2], key=math.prod)
        dtype = inputs[left].dtype if inputs[left].bits > 8 else TensorProto.FLOAT
        return [tensor_type(dtype, (*batch, one[-2], other[-1]))]

    return types


def _packed_product(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    return [tensor_type(inputs[0].dtype, (*inputs[0].shape[:-1], int(attributes["N"])))]


def _skip(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    return [inputs[0].type, None, None, inputs[0].type]


def _attention(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    batch, length, _ = inputs[0].shape
    return [tensor_type(inputs[0].dtype, (batch, length, inputs[1].shape[1] // 3))]


def _embed(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    batch, length = inputs[0].shape
    return [tensor_type(TensorProto.FLOAT, (batch, length, inputs[2].shape[1]))]


def _lstm(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    length, batch, _ = inputs[0].shape
    hidden = int(attributes["hidden_size"])
    directions = 2 if attributes.get("direction") == b"bidirectional" else 1
    state = tensor_type(TensorProto.FLOAT, (directions, batch, hidden))
    return [tensor_type(TensorProto.FLOAT, (length, directions, batch, hidden)), state, state]


def _quantized_concat(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    values = [inputs[p] for p in range(2, len(inputs), 3)]
    axis = int(attributes["axis"]) % len(values[0].shape)
    shape = list(values[0].shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    return [tensor_type(values[0].dtype, tuple(shape))]


def _pooled(inputs: list[Any], attributes: dict[str, Any]) -> Types:
    shape = inputs[0].shape
    last = bool(attributes.get("channels_last"))
    spatial = range(1, len(shape) - 1) if last else range(2, len(shape))
    return [tensor_type(inputs[0].dtype, tuple(1 if i in spatial else s for i, s in enumerate(shape)))]


_SAME = (
    "Gelu",
    "FastGelu",
    "QuickGelu",
    "BiasGelu",
    "LayerNormalization",
    "MultiHeadAttention",
    "GroupNorm",
    "QLinearSigmoid",
    "QLinearLeakyRelu",
    "QLinearSoftmax",
    "QuantizeLinear",
    "Inverse",
)
_TYPES: dict[str, Callable[[list[Any], dict[str, Any]], Types]] = {
    **dict.fromkeys(_SAME, _same),
    "FusedConv": _like("Conv", 11, 3),
    "FusedGemm": _like("Gemm", 13, 3),
    "NhwcMaxPool": _like("MaxPool", 12, 1),
    "QLinearAveragePool": _like("AveragePool", 11, 1),
    "FusedMatMul": _product(0, 1),
    "MatMulIntegerToFloat": _product(0, 1),
    "DynamicQuantizeMatMul": _product(0, 1),
    "QGemm": _product(0, 3),
    "MatMulNBits": _packed_product,
    "QLinearAdd": _broadcast((0, 3)),
    "QLinearMul": _broadcast((0, 3)),
    "SkipLayerNormalization": _skip,
    "SkipSimplifiedLayerNormalization": _skip,
    "Attention": _attention,
    "QAttention": _attention,
    "EmbedLayerNormalization": _embed,
    "DynamicQuantizeLSTM": _lstm,
    "QLinearConcat": _quantized_concat,
    "QLinearGlobalAveragePool": _pooled,
    "DequantizeLinear": _float,
}
