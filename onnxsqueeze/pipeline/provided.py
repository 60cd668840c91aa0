"""Which packed weights the native kernels would run as they are, so that nobody need decode them."""

from __future__ import annotations

import math
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
MANY = 1 << 20  # positions of an output
PLAIN = {"transA": 0, "alpha": 1.0, "beta": 1.0, "axis": 0}  # what kernels are for; other attributes do not matter


def provided(model: Model, kernel: str, profile: str) -> dict[str, str]:
    """Names of weights of the main graph to their kernels'; the provider may still leave some to onnxruntime.

    ``kernel``, ``profile``: as for ``onnxsqueeze.runtime.session_options``.
    """
    shapes: dict[str, list[int]] | None = None
    found = {}
    for encoded, consumer in _candidates(model):
        is_conv = consumer.op_type == "Conv"
        name = _kernel(encoded, consumer, MANY if is_conv else -1, kernel, profile)
        one = _kernel(encoded, consumer, 1, kernel, profile) if not name and not is_conv else ""
        if one or (name and is_conv):  # then it depends on how many rows there are
            shapes = _shapes(model) if shapes is None else shapes
            name = _kernel(encoded, consumer, _rows(consumer, shapes), kernel, profile)
        if name:
            found[consumer.input[PLACES[consumer.op_type]]] = name
    return found


def _kernel(encoded: Encoded, consumer: NodeProto, rows: int, kernel: str, profile: str) -> str:
    groups = int(_attributes(consumer).get("group", 1))
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


def _rows(consumer: NodeProto, shapes: dict[str, list[int]]) -> int:
    """Rows of the input of a product, positions of an output of Conv; -1 where that is not known."""
    is_conv = consumer.op_type == "Conv"
    shape = shapes.get(consumer.output[0] if is_conv else consumer.input[0], [])
    dims = shape[2:] if is_conv else shape[:-1]
    return -1 if not shape or min(dims, default=1) < 0 else math.prod(dims)


def _shapes(model: Model) -> dict[str, list[int]]:
    """Values to their dimensions, -1 where one is not known."""
    return {
        value.name: [d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim]
        for value in _inferred(model.proto)
    }


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
    return [*found.input, *found.value_info, *found.output]
