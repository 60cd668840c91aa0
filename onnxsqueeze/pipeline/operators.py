"""Packed weights as custom operators of the native library, for onnxruntime without plugin providers.

A weight, the operator that it feeds, a constant bias and an activation become one node of the domain
``ai.onnxsqueeze.kernels``; runtime/custom_ops.cc says what its inputs and attributes are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.model.dense import drop_domain
from onnxsqueeze.model.graphs import Edges, domain, edges, walk
from onnxsqueeze.pipeline.provided import PLACES

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

KERNELS = "ai.onnxsqueeze.kernels"
CONTRIBUTED = "com.microsoft"
MAIN = 0  # index of the main graph among the scopes
KEPT = ("strides", "pads", "dilations", "group", "auto_pad", "transB")  # attributes of what is replaced


def to_operators(model: Model, kernels: Mapping[str, str]) -> int:
    """Rewrites packed weights of the main graph, in place; returns how many.

    Args:
        model: with decode nodes for at least these weights.
        kernels: weight to the kernel that runs it, as ``provided`` finds them. A weight stays as it is where its
            bias is not constant.
    """
    graph = _Uses.of(model)
    gone: set[int] = set()  # by identity: of the nodes that others stand for
    made: dict[int, NodeProto] = {}
    nodes = list(model.proto.graph.node)
    for node in nodes:
        place = PLACES.get(node.op_type, -1) if domain(node) == "" else -1
        weight = node.input[place] if 0 <= place < len(node.input) else ""
        if weight not in kernels or node.input[1 - place] in graph.constants:
            continue
        operator = _Operator(node, graph.maker(weight), place)
        if not operator.take_bias(graph):
            continue
        operator.take_activation(graph)
        gone |= {id(operator.decode), *(id(graph.maker(name)) for name in operator.replaced)}
        made[id(node)] = operator.node(kernels[weight])
    kept = GraphProto(node=[made.get(id(n), n) for n in nodes if id(n) in made or id(n) not in gone])
    proto = model.proto
    del proto.graph.node[:]
    proto.graph.node.extend(kept.node)
    if made:
        proto.opset_import.append(helper.make_opsetid(KERNELS, 1))
    if not any(node.domain == DOMAIN for scope in walk(proto) for node in scope.graph.node):
        drop_domain(proto, DOMAIN)
    model.refresh()
    return len(made)


@dataclass(frozen=True, eq=False)
class _Uses:
    """Who makes and who uses the values of the main graph."""

    wiring: Edges
    constants: Mapping[str, TensorProto]  # that no caller may give

    @classmethod
    def of(cls, model: Model) -> _Uses:
        graph = model.proto.graph
        given = {value.name for value in graph.input}
        return cls(edges(model.proto), {t.name: t for t in graph.initializer if t.name not in given})

    def maker(self, value: str) -> NodeProto:
        return self.wiring.producers[MAIN, value]

    def only_consumer(self, value: str) -> NodeProto | None:
        sites = self.wiring.users.get((MAIN, value), [])
        alone = len(sites) == 1 and sites[0].scope.index == MAIN and (MAIN, value) not in self.wiring.results
        return sites[0].node if alone else None


class _Operator:
    """One node to be: a product, its weight, and what follows."""

    def __init__(self, product: NodeProto, decode: NodeProto, place: int) -> None:
        self.product, self.decode, self.place = product, decode, place
        self.output = product.output[0]
        self.replaced: list[str] = []  # values whose makers go, beside the weight: all but the last
        self.bias = ""
        self.activation: dict[str, Any] = {}

    def take_bias(self, graph: _Uses) -> bool:
        """Whether there is none that is in the way."""
        if self.product.op_type in ("Gemm", "Conv") and len(self.product.input) > 2 and self.product.input[2]:
            self.bias = self.product.input[2]
            return self._fits(graph, self.bias)
        add = graph.only_consumer(self.output)
        if self.product.op_type == "MatMul" and add is not None and add.op_type == "Add" and domain(add) == "":
            other = add.input[1 if add.input[0] == self.output else 0]
            if self._fits(graph, other) and len(graph.constants[other].dims) == 1:  # more would add dimensions
                self.bias = other
                self._follow(add)
        return True

    def _fits(self, graph: _Uses, name: str) -> bool:
        """Whether a value is a constant number for each output channel."""
        tensor = graph.constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or not tensor.dims:
            return False
        total = 1
        for dim in tensor.dims:
            total *= dim
        return bool(total == tensor.dims[-1] == self._width())

    def _width(self) -> int:
        shape = next(list(a.ints) for a in self.decode.attribute if a.name == "shape")
        attributes = {a.name: a.i for a in self.product.attribute}
        return int(shape[0] if self.product.op_type == "Conv" or attributes.get("transB") else shape[-1])

    def take_activation(self, graph: _Uses) -> None:
        """Takes the node that follows, where kernels have it."""
        node = graph.only_consumer(self.output)
        if node is None or self.product.op_type == "Gather" or node.input[0] != self.output:
            return
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        found: dict[str, Any] | None = None
        if domain(node) == "" and node.op_type in ("Relu", "HardSwish"):
            found = {}
        elif domain(node) == "" and node.op_type == "ThresholdedRelu":
            found = {"threshold": float(attributes.get("alpha", 1.0))}
        elif domain(node) in ("", CONTRIBUTED) and node.op_type == "Gelu":
            found = {} if attributes.get("approximate", b"none") == b"none" else None
        elif domain(node) == "" and node.op_type == "Clip":
            found = _bounds(graph, node, attributes)
        if found is not None:
            self.activation = {"activation": node.op_type, **found}
            self._follow(node)

    def _follow(self, node: NodeProto) -> None:
        self.replaced.append(node.output[0])
        self.output = node.output[0]

    def node(self, kernel: str) -> NodeProto:
        """The node that stands for all."""
        inputs = [self.product.input[1 - self.place], *([self.bias] if self.bias else []), *self.decode.input]
        node = helper.make_node(
            self.product.op_type,
            inputs,
            [self.output],
            name=self.product.name,
            domain=KERNELS,
            weight=self.decode.op_type,
            kernel=kernel,
            has_bias=int(bool(self.bias)),
            **self.activation,
        )
        kept: list[AttributeProto] = [a for a in self.product.attribute if a.name in KEPT]
        node.attribute.extend([*self.decode.attribute, *kept])
        return node


def _bounds(graph: _Uses, node: NodeProto, attributes: Mapping[str, Any]) -> dict[str, float] | None:
    """``min`` and ``max`` of a Clip, as inputs or, before opset 11, attributes; None where they are not constant."""
    found = {name: float(attributes[name]) for name in ("min", "max") if name in attributes}
    for name, value in zip(("min", "max"), node.input[1:], strict=False):
        if not value:
            continue
        tensor = graph.constants.get(value)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or not tensor.HasField("raw_data"):
            return None
        found[name] = float(numpy_helper.to_array(tensor).reshape(-1)[0])
    return found
