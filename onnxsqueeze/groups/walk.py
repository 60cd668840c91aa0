"""The way through the graph: every node in order, each under the rule of its operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxsqueeze.groups import control
from onnxsqueeze.groups.channels import Cause
from onnxsqueeze.groups.contents import LIMIT, contents, of_array
from onnxsqueeze.groups.infer import Inference
from onnxsqueeze.groups.rules import MICROSOFT, RULES, UNREAD
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import NOTHING, Axis, Contents, Op, Slot, Step, Trace, Value
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Key, Scope, constant_value, domain, edges
from onnxsqueeze.model.tensors import FLOATS, elements

GRAPH_OUTPUT = "graph output"
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL})
CONTROL: dict[str, Callable[[Any, Op], list[Value]]] = {
    "If": control.either,
    "Loop": control.loop,
    "Scan": control.scan,
}


def walk(model: Model, choices: Mapping[int, int], sizes: Mapping[str, int]) -> Trace:
    """Analyses every node of the model, in order.

    ``choices``: for an If (by step) the branch to follow; ``sizes``: of free axes, by name or as ``input[axis]``.
    """
    return _Walk(model, choices, sizes).run()


class _Walk:
    """The values met so far."""

    def __init__(self, model: Model, choices: Mapping[int, int], sizes: Mapping[str, int]) -> None:
        self.model, self.opset = model, model.opset
        self.wiring = edges(model.proto)
        self.trace = Trace(scopes=self.wiring.scopes, constants=self.wiring.constants)
        self.values = self.trace.names
        self.inference = Inference(model.proto.opset_import, sizes)
        self._choices = choices
        self._aliases = self.trace.aliases
        self._scopes = {id(scope.graph): scope for scope in self.wiring.scopes}
        self._given = {value.name for value in model.proto.graph.input}

    def run(self) -> Trace:
        """Walks the main graph; what goes in and what comes out keeps its shape."""
        main = self.wiring.scopes[0]
        for value in main.graph.input:
            kind = value.type
            self.values[0, value.name] = (
                self.inference.declared(value.name, kind) if kind.HasField("tensor_type") else NOTHING
            )
        self._graph(main)
        for value in main.graph.output:
            found = self.lookup(main, value.name, None)
            self._keep(found, Cause(value.name, GRAPH_OUTPUT, "its shape must stay"))
            if found.contents is not None:  # sizes are given back
                for step in self.trace.steps:
                    if step.node.op_type in ("Shape", "Size") and step.inputs[0] is not None:
                        self._keep(step.inputs[0], Cause(value.name, GRAPH_OUTPUT, "sizes are given back"))
        return self.trace

    def _keep(self, value: Value, cause: Cause) -> None:
        for axis in value.axes or ():
            if axis.labels is not None:
                self.trace.channels.block(axis.labels, cause)
                self.trace.outputs.append(axis.labels)

    def _graph(self, scope: Scope) -> None:
        for node in scope.graph.node:
            self._node(scope, node)

    def choose(self, op: Op) -> int:
        """Which branch of an If to follow where their outputs differ in rank."""
        branch = self._choices.get(op.number, 0)
        self.trace.choices[op.number] = branch
        return branch

    def body(self, graph: GraphProto, inputs: list[Value]) -> list[Value]:
        """Walks a subgraph with these inputs; its outputs."""
        scope = self._scopes[id(graph)]
        for given, value in zip(graph.input, inputs, strict=True):
            self.values[scope.index, given.name] = value
        self._graph(scope)
        return [self.lookup(scope, value.name, None) for value in graph.output]

    def lookup(self, scope: Scope, name: str, use: tuple[int, int] | None) -> Value:
        """The value of a name. Constants with one long axis are met anew at every use, since uses may differ."""
        key = self._resolved(self.wiring.key(scope, name))
        if key is None:
            return NOTHING
        if not self._is_constant(key):
            return self.values.get(key, NOTHING)
        tensor = self.wiring.constants[key]
        if use is not None and _is_vector(tensor):
            return self._constant(key, tensor, use)
        if key not in self.values:
            self.values[key] = self._constant(key, tensor, None)
        return self.values[key]

    def _resolved(self, key: Key | None) -> Key | None:
        while key in self._aliases:
            key = self._aliases[key]
        return key

    def _is_constant(self, key: Key) -> bool:
        """Constants that a caller may replace count as inputs."""
        return key in self.wiring.constants and not (key[0] == 0 and key[1] in self._given)

    def _constant(self, key: Key, tensor: TensorProto, use: tuple[int, int] | None) -> Value:
        axes = []
        for place, size in enumerate(tensor.dims):
            labels = None
            if tensor.data_type in FLOATS and size > 1:
                labels = self.trace.channels.fresh(size)
                self.trace.slots[int(labels[0, 0])] = Slot(*key, place, use)
            axes.append(Axis(Size(size), labels))
        return Value(tuple(axes), tensor.data_type, self._held(tensor), True, tensor)

    def _held(self, tensor: TensorProto) -> Contents | None:
        limit = LIMIT if tensor.data_type in INTEGERS else 1 if tensor.data_type in FLOATS else 0
        return of_array(self.model.read(tensor)) if elements(tensor) <= limit else None

    def _node(self, scope: Scope, node: NodeProto) -> None:
        if constant_value(node) is not None:
            return  # met where it is used
        number = len(self.trace.steps)
        inputs = tuple(self.lookup(scope, n, (number, i)) if n else None for i, n in enumerate(node.input))
        attributes = {a.name: _setting(a) for a in node.attribute}
        guess = self.inference.outputs(node, inputs)
        self.trace.steps.append(Step(number, scope, node, inputs, (), attributes))  # bodies come after it
        op = Op(self.trace, scope, node, number, self.opset, inputs, guess, attributes)
        outputs = self._ruled(op)
        held = contents(node.op_type, inputs, attributes) if domain(node) == "" else None
        if held is not None:
            axes = outputs[0].axes if outputs[0].axes is not None else tuple(Axis(Size(n)) for n in held.shape)
            outputs[0] = Value(axes, outputs[0].kind, held, outputs[0].constant, outputs[0].tensor)
        for name, value in zip(node.output, outputs, strict=False):
            if name:
                self.values[scope.index, name] = value
        self._alias(scope, node)
        self.trace.steps[number] = Step(number, scope, node, inputs, tuple(outputs), attributes)

    def _alias(self, scope: Scope, node: NodeProto) -> None:
        """An Identity behind a constant is that constant."""
        if node.op_type == "Identity" and domain(node) == "":
            key = self._resolved(self.wiring.key(scope, node.input[0]))
            if key is not None and self._is_constant(key):
                self._aliases[scope.index, node.output[0]] = key

    def _ruled(self, op: Op) -> list[Value]:
        kind = op.node.op_type
        plain = op.guess or [NOTHING] * len(op.node.output)
        if domain(op.node) == "":
            if kind in UNREAD:
                return plain
            if kind in CONTROL:
                return CONTROL[kind](self, op)
        table = RULES if domain(op.node) == "" else MICROSOFT if domain(op.node) == "com.microsoft" else {}
        rule = table.get(kind)
        return control.bypass(self, op) if rule is None else rule(op)


def _is_vector(tensor: TensorProto) -> bool:
    return len([size for size in tensor.dims if size > 1]) <= 1


def _setting(attribute: AttributeProto) -> Any:
    """The value of an attribute; None for graphs and large tensors."""
    if attribute.type == AttributeProto.TENSOR:
        small = attribute.t.data_type in INTEGERS and elements(attribute.t) == 1
        return int(numpy_helper.to_array(attribute.t).reshape(-1)[0]) if small else None
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return None
    value = helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
