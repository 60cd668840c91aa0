"""Which packed weights the native kernels would run as they are, so that nobody need decode them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import onnx
from onnx import NodeProto, helper

from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.encode.decode import choose_kernel
from onnxsqueeze.encode.nodes import from_node
from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.graphs import walk

if TYPE_CHECKING:
    import numpy.typing as npt

    from onnxsqueeze.encode import Encoded
    from onnxsqueeze.model import Model

PLACES = {"Conv": 1, "Gather": 0, "Gemm": 1, "MatMul": 1}  # of the weight among the inputs
PLAIN = {"transA": 0, "alpha": 1.0, "beta": 1.0, "axis": 0}  # what kernels are for; other attributes do not matter


def provided(model: Model, kernel: str, profile: str) -> dict[str, str]:
    """Names of weights of the main graph to their kernels'; the provider may still leave some to onnxruntime.

    ``kernel``, ``profile``: as for ``onnxsqueeze.runtime.session_options``.
    """
    rows: dict[str, int] | None = None
    found = {}
    for encoded, consumer in _candidates(model):
        groups = int(_attributes(consumer).get("group", 1))
        name = _kernel(encoded, consumer, -1, groups, kernel, profile)
        if (
            not name
            and consumer.op_type in ("Gemm", "MatMul")
            and _kernel(encoded, consumer, 1, groups, kernel, profile)
        ):
            rows = _rows(model) if rows is None else rows
            name = _kernel(encoded, consumer, rows.get(consumer.input[0], -1), groups, kernel, profile)
        if name:
            found[consumer.input[PLACES[consumer.op_type]]] = name
    return found


def _kernel(encoded: Encoded, consumer: NodeProto, rows: int, groups: int, kernel: str, profile: str) -> str:
    try:
        return choose_kernel(encoded, consumer.op_type, rows, groups, kernel, profile)
    except FormatError:  # decoding will tell of it
        return ""


def _candidates(model: Model) -> Iterator[tuple[Encoded, NodeProto]]:
    """Packed weights that feed one operator only, which may have a kernel."""
    graph = model.proto.graph
    uses = Counter(name for scope in walk(model.proto) for node in scope.graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    makers = {node.output[0]: node for node in graph.node if node.domain == DOMAIN}
    tensors = {tensor.name: tensor for tensor in graph.initializer}

    def read(name: str) -> npt.NDArray[Any] | None:
        return model.read(tensors[name]) if name in tensors else None

    for node in graph.node:
        place = PLACES.get(node.op_type, -1) if node.domain in ("", "ai.onnx") else -1
        if not 0 <= place < len(node.input) or uses[node.input[place]] != 1 or node.input[place] not in makers:
            continue
        attributes = _attributes(node)
        if all(attributes.get(name, value) == value for name, value in PLAIN.items()):
            yield from_node(makers[node.input[place]], read), node


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _rows(model: Model) -> dict[str, int]:
    """Values to how many rows they have: the product of all dimensions but the last, where these are known."""
    shapes = {value.name: value.type.tensor_type.shape for value in _inferred(model.proto)}
    rows = {}
    for name, shape in shapes.items():
        count = 1
        for dim in list(shape.dim)[:-1]:
            count = -1 if count < 0 or not dim.HasField("dim_value") else count * dim.dim_value
        rows[name] = count if shape.dim else -1
    return rows


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Typed values, of a copy of the model with inputs in the place of packed weights."""
    graph = model.graph
    made = {node.output[0]: node for node in graph.node if node.domain == DOMAIN}
    packed = {name for node in made.values() for name in node.input}
    shapes = {name: _attributes(node)["shape"] for name, node in made.items()}
    bare = onnx.GraphProto(
        node=[node for node in graph.node if node.domain != DOMAIN],
        input=[
            *graph.input,
            *(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in shapes.items()),
        ],
        output=graph.output,
        value_info=graph.value_info,
        initializer=[tensor for tensor in graph.initializer if tensor.name not in packed],
    )
    proto = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=bare)
    try:
        found = onnx.shape_inference.infer_shapes(proto).graph
    except onnx.shape_inference.InferenceError:
        return []
    return [*found.input, *found.value_info]
