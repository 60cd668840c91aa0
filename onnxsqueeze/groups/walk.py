"""The way through the graph: every node in order, each under the rule of its operator."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, defs, helper, shape_inference

from onnxsqueeze.groups.contents import LIMIT, contents, of_ints
from onnxsqueeze.groups.rules import MICROSOFT, RULES, SHAPE_ONLY
from onnxsqueeze.groups.sizes import Size, unknown
from onnxsqueeze.groups.value import NOTHING, Axis, Op, Slot, Step, Trace, Value
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Edges, Key, Scope, bodies, domain, edges, label
from onnxsqueeze.model.tensors import FLOATS, bits, elements

GRAPH_OUTPUT = "graph output"
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL})


def walk(model: Model) -> Trace:
    """Analyses every node of the model, in order."""
    return _Walk(model).run()


class _Walk:
    """The values met so far."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.opset = model.opset
        self.wiring: Edges = edges(model.proto)
        self.trace = Trace(scopes=self.wiring.scopes, constants=self.wiring.constants)
        self.values = self.trace.names
        self.aliases: dict[Key, Key] = {}
        self.scopes = {id(scope.graph): scope for scope in self.wiring.scopes}
        self.given = {value.name for value in model.proto.graph.input}
        self.imports = list(model.proto.opset_import)
        self.sizes: dict[str, Size] = {}

    def run(self) -> Trace:
        """Walks the main graph; the outputs of the model stay as they are."""
        main = self.wiring.scopes[0]
        for value in main.graph.input:
            self.values[0, value.name] = self._declared(value)
        self.graph(main)
        for value in main.graph.output:
            found = self.lookup(main, value.name, None)
            for axis in found.axes or ():
                if axis.labels is not None:
                    self.trace.channels.block(axis.labels, Causes.output(value.name))
                    self.trace.outputs.append(axis.labels)
        return self.trace

    def graph(self, scope: Scope) -> None:
        """Walks the nodes of one graph, whose inputs are known."""
        for node in scope.graph.node:
            self._node(scope, node)

    def _declared(self, value: ValueInfoProto) -> Value:
        """A graph input: its sizes are fixed, its positions no channels."""
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            return Value(None, kind.elem_type)
        axes = []
        for place, dim in enumerate(kind.shape.dim):
            size = Size(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None
            axes.append(Axis(size or self._named(dim.dim_param or f"{value.name}[{place}]")))
        return Value(tuple(axes), kind.elem_type)

    def _named(self, name: str) -> Size:
        return self.sizes.setdefault(name, unknown(name))

    def lookup(self, scope: Scope, name: str, use: tuple[int, int] | None) -> Value:
        """The value of a name; constants are met here for the first time, or anew at every use."""
        key = self.wiring.key(scope, name)
        while key in self.aliases:
            key = self.aliases[key]
        if key is None:
            return NOTHING
        tensor = self.wiring.constants.get(key)
        if tensor is None or (key[0] == 0 and name in self.given):
            return self.values.get(key, NOTHING)
        if not _is_vector(tensor):
            use = None
        elif use is not None:
            return self._constant(key, tensor, use)
        if key not in self.values:
            self.values[key] = self._constant(key, tensor, None)
        return self.values[key]

    def _constant(self, key: Key, tensor: TensorProto, use: tuple[int, int] | None) -> Value:
        held = None
        if tensor.data_type in INTEGERS and elements(tensor) <= LIMIT:
            held = of_ints(self.model.read(tensor))
        axes = []
        for place, size in enumerate(tensor.dims):
            labels = None
            if tensor.data_type in FLOATS and size > 1:
                labels = self.trace.channels.fresh(size)
                self.trace.slots[int(labels[0, 0])] = Slot(*key, place, use)
            axes.append(Axis(Size(size), labels))
        return Value(tuple(axes), tensor.data_type, held, True, tensor)

    def _node(self, scope: Scope, node: NodeProto) -> None:
        number = len(self.trace.steps)
        inputs = tuple(self.lookup(scope, n, (number, i)) if n else None for i, n in enumerate(node.input))
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if not _is_large(a)}
        guess = self._inferred(node, inputs)
        op = Op(self.trace, scope, node, number, self.opset, inputs, guess, attributes)
        outputs = self._ruled(op)
        found = _contents(op)
        if found is not None and outputs:
            first = outputs[0]
            axes = first.axes if first.axes is not None else tuple(Axis(Size(n)) for n in found.shape)
            outputs[0] = Value(axes, first.kind, found, first.constant)
        for name, value in zip(node.output, outputs, strict=False):
            if name:
                self.values[scope.index, name] = value
        if node.op_type == "Identity" and domain(node) == "":
            self._alias(scope, node)
        self.trace.steps.append(Step(number, scope, node, inputs, tuple(outputs), attributes))

    def _alias(self, scope: Scope, node: NodeProto) -> None:
        """An Identity behind a constant is that constant."""
        key = self.wiring.key(scope, node.input[0])
        while key in self.aliases:
            key = self.aliases[key]
        if key is not None and key in self.wiring.constants and not (key[0] == 0 and key[1] in self.given):
            self.aliases[scope.index, node.output[0]] = key

    def _ruled(self, op: Op) -> list[Value]:
        plain = op.guess or [NOTHING] * len(op.node.output)
        if domain(op.node) == "" and op.node.op_type in SHAPE_ONLY:
            return plain
        if domain(op.node) == "" and op.node.op_type == "Constant":
            return [self.lookup(op.scope, op.node.output[0], None)] if _has_tensor(op) else plain
        table = RULES if domain(op.node) == "" else MICROSOFT if domain(op.node) == "com.microsoft" else {}
        rule = table.get(op.node.op_type)
        if rule is None:
            op.block_all("is an operator that is not followed")
            for _, body in bodies(op.node):
                self._opaque(op, body)
            return plain
        return rule(op)

    def _opaque(self, op: Op, body: Any) -> None:
        """A body that is not followed blocks what it reads."""

    def _inferred(self, node: NodeProto, inputs: tuple[Value | None, ...]) -> list[Value]:
        """Outputs as onnx infers them; empty where it cannot."""
        if any(True for _ in bodies(node)) or not defs.has(node.op_type, node.domain):
            return []
        try:
            version = next(e.version for e in self.imports if e.domain in ("", "ai.onnx") or e.domain == node.domain)
            schema = defs.get_schema(node.op_type, version, node.domain)
            types, data = {}, {}
            for name, value in zip(node.input, inputs, strict=True):
                if value is not None and value.kind:
                    types[name] = self._type(value)
                    tensor = _data(name, value)
                    if tensor is not None:
                        data[name] = tensor
            found = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self.imports)
        except Exception:  # what onnx cannot infer it refuses in many ways
            return []
        return [self._value(name, found.get(name)) for name in node.output]

    def _type(self, value: Value) -> TypeProto:
        if value.axes is None:
            return helper.make_tensor_type_proto(value.kind, None)
        dims: list[int | str | None] = []
        for axis in value.axes:
            if axis.size.known:
                dims.append(axis.size.factor)
            else:
                self.sizes[str(axis.size)] = axis.size
                dims.append(str(axis.size))
        return helper.make_tensor_type_proto(value.kind, dims)

    def _value(self, name: str, kind: TypeProto | None) -> Value:
        if kind is None or not kind.HasField("tensor_type"):
            return NOTHING
        tensor = kind.tensor_type
        if not tensor.HasField("shape"):
            return Value(None, tensor.elem_type)
        axes = []
        for place, dim in enumerate(tensor.shape.dim):
            if dim.HasField("dim_value"):
                axes.append(Axis(Size(dim.dim_value)))
            else:
                axes.append(Axis(self._named(dim.dim_param or f"{name}[{place}]")))
        return Value(tuple(axes), tensor.elem_type)


class Causes:
    """Reasons that name no operator."""

    @staticmethod
    def output(name: str) -> Any:
        """The channels are those of a graph output."""
        from onnxsqueeze.groups.channels import Cause

        return Cause(name, GRAPH_OUTPUT, "its shape must stay")


def _is_vector(tensor: TensorProto) -> bool:
    """Whether at most one axis is longer than 1: such constants may differ from use to use."""
    return sum(size > 1 for size in tensor.dims) <= 1


def _is_large(attribute: Any) -> bool:
    return attribute.HasField("t") or attribute.HasField("g") or len(attribute.graphs) > 0


def _has_tensor(op: Op) -> bool:
    return any(a.name == "value" and a.HasField("t") for a in op.node.attribute)


def _contents(op: Op) -> Any:
    node = op.node
    if domain(node) != "":
        return None
    if node.op_type == "Constant":
        listed = op.attributes.get("value_ints", op.attributes.get("value_int"))
        value = op.trace.names.get((op.scope.index, node.output[0]))
        return of_ints(listed) if listed is not None else value.contents if value else None
    attributes = op.attributes
    if node.op_type == "ConstantOfShape":
        fill = next((a.t for a in node.attribute if a.name == "value"), None)
        if fill is None or fill.data_type not in INTEGERS:
            return None
        from onnx import numpy_helper

        attributes = {**attributes, "value": int(numpy_helper.to_array(fill).reshape(-1)[0])}
    return contents(node.op_type, op.inputs, attributes)


def _data(name: str, value: Value) -> TensorProto | None:
    """A small constant input, for onnx to infer sizes from."""
    if value.contents is not None and all(size.known for size in value.contents.flat):
        values = np.array([size.factor for size in value.contents.flat], np.int64).reshape(value.contents.shape)
        return helper.make_tensor(name, value.kind or TensorProto.INT64, values.shape, values.reshape(-1).tolist())
    tensor = value.tensor
    if tensor is not None and bits(tensor) and elements(tensor) <= 16 and not tensor.external_data:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = name
        return copy
    return None


__all__ = ["GRAPH_OUTPUT", "label", "walk"]
