"""A walk over a model in the order in which it runs, with all shapes: what a run would meet, without its numbers.

The sizes of the inputs are known, and small integers that shapes are made of are computed on the way, so that shapes
behind Reshape, Slice or Expand are known as well.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper

from onnxsqueeze.cost.infer import Clash, Unknown, contents, infer
from onnxsqueeze.cost.values import KNOWN, Step, Value, array_value, running, slice_of, stack_of, tensor_type
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.graphs import bodies, domain, label
from onnxsqueeze.model.roles import PACKED_DOMAIN
from onnxsqueeze.model.tensors import elements, is_external

DEPTH, MOST = 32, 100_000  # of functions within functions; nodes, those of functions once a call
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
NOTHING = frozenset({"Identity", "Dropout"})  # runtimes leave them out
Values = Sequence[Value | None]


class Misfit(Exception):
    """The shapes of the inputs do not fit the model."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the walk is: the names in sight, the path of the graph, and how often it runs."""

    names: ChainMap[str, Value]
    path: str
    runs: int
    opsets: Mapping[str, int]
    depth: int = 0

    def join(self, name: str) -> str:
        """A name of this graph, unique in the model."""
        return f"{self.path}/{name}" if self.path else name

    def body(self, name: str, node: NodeProto, runs: int = 1) -> Frame:
        """The frame of a subgraph."""
        path = self.join(f"{name} of {label(node)}")
        return replace(self, names=self.names.new_child(), path=path, runs=self.runs * runs)


@dataclass(frozen=True, eq=False)
class Origin:
    """A constant of the model: an initializer, the tensor of a Constant node, or the node of a packed weight."""

    proto: TensorProto | NodeProto
    path: str  # of the graph it is in


class Walk:
    """One walk; ``steps`` are the nodes in the order in which they run."""

    def __init__(
        self,
        model: ModelProto,
        read: Callable[[TensorProto], Any],
        work: Callable[[Step], int],
        static: bool = False,
        lenient: bool = False,
    ) -> None:
        """``work`` of a step decides between branches; ``static``: a runtime knows all shapes before it runs;
        ``lenient``: shapes that contradict each other are left unknown."""
        self._functions = {(f.domain, f.name): f for f in model.functions}
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._declared = {v.name: v.type for v in (*model.graph.value_info, *model.graph.output)}
        self._read, self._work, self._static, self._lenient = read, work, static, lenient
        self._met = 0
        self.steps: list[Step] = []
        self.assumed: list[str] = []
        self.constants: dict[str, Origin] = {}

    def run(self, graph: GraphProto, inputs: Mapping[str, Value]) -> None:
        """Walks the main graph; raises Misfit."""
        self._graph(graph, Frame(ChainMap(dict(inputs)), "", 1, self._opsets))

    def _graph(self, graph: GraphProto, frame: Frame) -> list[Value | None]:
        names = frame.names
        for tensor in graph.initializer:
            if tensor.name not in names.maps[0]:
                names[tensor.name] = self._constant(tensor, tensor.name, frame)
        for sparse in graph.sparse_initializer:
            kind = tensor_type(sparse.values.data_type, tuple(sparse.dims))
            names[sparse.values.name] = Value(frame.join(sparse.values.name), kind, None, True)
        self._nodes(graph.node, frame)
        return [names.get(value.name) for value in graph.output]

    def _constant(self, tensor: TensorProto, name: str, frame: Frame) -> Value:
        key, number = frame.join(name), 1
        while key in self.constants and self.constants[key].proto is not tensor:
            number += 1
            key = f"{frame.join(name)}#{number}"
        self.constants[key] = Origin(tensor, frame.path)
        small = elements(tensor) <= KNOWN and not is_external(tensor) and tensor.data_type != TensorProto.STRING
        data = np.asarray(self._read(tensor)) if small else None
        return Value(key, tensor_type(tensor.data_type, tuple(tensor.dims)), data, True, (key,))

    def _nodes(self, nodes: Iterable[NodeProto], frame: Frame) -> None:
        for node in nodes:
            self._met += 1
            if self._met > MOST:
                raise ModelError(f"the model has over {MOST:,} nodes, counting those of functions at every call")
            inputs = tuple(frame.names.get(name) if name else None for name in node.input)
            outputs = self._node(node, inputs, frame)
            frame.names.update({name: v for name, v in zip(node.output, outputs, strict=False) if name and v})

    def _node(self, node: NodeProto, inputs: Values, frame: Frame) -> Values:
        space = domain(node)
        if space == "" and node.op_type == "Constant":
            return [self._constant_node(node, frame)]
        if space == PACKED_DOMAIN:
            return [self._packed(node, frame)]
        if space == "" and node.op_type in ("If", "Loop", "Scan"):
            walk = {"If": self._if, "Loop": self._loop, "Scan": self._scan}[node.op_type]
            return walk(node, inputs, frame)
        function = self._functions.get((node.domain, node.op_type))
        if function is not None and frame.depth < DEPTH:
            return self._function(function, node, inputs, frame)
        return self._plain(node, inputs, frame)

    def _constant_node(self, node: NodeProto, frame: Frame) -> Value:
        name = node.output[0]
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                return self._constant(attribute.t, name, frame)
            if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
                kind = np.int64 if "int" in attribute.name else np.float32
                return array_value(frame.join(name), np.array(helper.get_attribute_value(attribute), kind), True)
        return Value(frame.join(name), None, None, True)

    def _packed(self, node: NodeProto, frame: Frame) -> Value:
        """A packed weight: the type and shape that its node states."""
        attributes = {a.name: a for a in node.attribute}
        shape = tuple(attributes["shape"].ints) if "shape" in attributes else ()
        wide = next((n for n in ("Raw16", "Raw64") if n in node.op_type), "")
        dtype = {"Raw16": TensorProto.FLOAT16, "Raw64": TensorProto.DOUBLE}.get(wide, TensorProto.FLOAT)
        if "to" in attributes:
            dtype = attributes["to"].i
        key = frame.join(node.output[0])
        self.constants[key] = Origin(node, frame.path)
        return Value(key, tensor_type(dtype, shape), None, True, (key,))

    def _plain(self, node: NodeProto, inputs: Values, frame: Frame) -> Values:
        """A node without a body: types by inference, contents where they are small; no node where it does nothing."""
        if domain(node) == "" and node.op_type in NOTHING and inputs and inputs[0] is not None:
            return [inputs[0], *(None for _ in node.output[1:])]
        types, problem = self._types(node, inputs, frame)
        constant = self._is_constant(node, inputs)
        sources = tuple(dict.fromkeys(w for v in inputs if v and v.constant for w in v.weights)) if constant else ()
        arrays = contents(node, inputs, types, frame.opsets)
        outputs: list[Value | None] = []
        for position, (name, found) in enumerate(zip(node.output, types, strict=False)):
            data = arrays[position] if arrays and position < len(arrays) else None
            if data is not None and not Value("", found).known:
                found = tensor_type(helper.np_dtype_to_tensor_dtype(data.dtype), data.shape)
            outputs.append(Value(frame.join(name), found, data, constant, sources) if name else None)
        self.steps.append(
            Step(node, frame.join(label(node)), tuple(inputs), tuple(outputs), frame.runs, problem, _attributes(node))
        )
        return outputs

    def _types(self, node: NodeProto, inputs: Values, frame: Frame) -> tuple[list[TypeProto | None], str]:
        """The types of the outputs, and what keeps them from being known."""
        try:
            types = infer(node, inputs, frame.opsets)
        except Clash as error:
            if not self._lenient:
                raise Misfit(f"node '{label(node)}': {error}") from None
            return [self._declared.get(name) for name in node.output], str(error)
        except Unknown as error:
            return [self._declared.get(name) for name in node.output], str(error)
        if any(d.dim_value < 0 for t in types if t for d in t.tensor_type.shape.dim):
            if not self._lenient:
                raise Misfit(f"node '{label(node)}' would have an output of negative size")
            return [None for _ in types], "negative size"
        return types, ""

    def _is_constant(self, node: NodeProto, inputs: Values) -> bool:
        if node.op_type in RANDOM:
            return False
        if self._static and node.op_type in ("Shape", "Size"):
            return True
        return all(v.constant for v in inputs if v is not None)

    def _function(self, function: FunctionProto, node: NodeProto, inputs: Values, frame: Frame) -> Values:
        names: ChainMap[str, Value] = ChainMap()
        names.update({name: v for name, v in zip(function.input, inputs, strict=False) if v is not None})
        given = {a.name: a for a in (*function.attribute_proto, *node.attribute)}
        opsets = {entry.domain: entry.version for entry in function.opset_import}
        inner = Frame(names, frame.join(label(node)), frame.runs, opsets, frame.depth + 1)
        self._nodes([_bound(item, given) for item in function.node], inner)
        return [names.get(name) for name in function.output]

    def _if(self, node: NodeProto, inputs: Values, frame: Frame) -> Values:
        """The branch that the condition takes; where that is not known before, the one with more work."""
        graphs = dict(bodies(node))
        condition = inputs[0].data if inputs and inputs[0] is not None else None
        names = ["then_branch", "else_branch"]
        if condition is not None and condition.size:
            names = names[:1] if bool(condition.reshape(-1)[0]) else names[1:]
        else:
            self.assumed.append(f"'{frame.join(label(node))}' takes the branch with more work")
        before, walked = self.steps, []
        misfit = Misfit(f"node '{label(node)}' has no branches")
        for name in names:
            self.steps = []
            try:
                outputs = self._graph(graphs[name], frame.body(name, node))
                walked.append((sum(map(self._work, self.steps)), self.steps, outputs))
            except Misfit as error:
                misfit = error
        self.steps = before
        if not walked:
            raise misfit
        _, steps, outputs = max(walked, key=lambda branch: branch[0])
        self.steps += steps
        return [running(v) if len(names) > 1 else v for v in outputs]

    def _loop(self, node: NodeProto, inputs: Values, frame: Frame) -> Values:
        """The body, as often as the trip count says; once where that is not known before."""
        trips = _integer(inputs[0] if inputs else None)
        if trips is None:
            trips = 1
            self.assumed.append(f"'{frame.join(label(node))}' runs once")
        body, carried = dict(bodies(node))["body"], inputs[2:]
        inner = frame.body("body", node, max(trips, 0))
        trip = Value(inner.join("trip"), tensor_type(TensorProto.INT64, ()))
        go = Value(inner.join("go"), tensor_type(TensorProto.BOOL, ()))
        _bind(inner, body, [trip, go, *map(running, carried)])
        made = self._graph(body, inner)[1:]
        return [*map(running, made[: len(carried)]), *(stack_of(v, trips) for v in made[len(carried) :])]

    def _scan(self, node: NodeProto, inputs: Values, frame: Frame) -> Values:
        """The body, once for each slice of the inputs that it scans."""
        attributes = _attributes(node)
        states = len(inputs) - int(attributes.get("num_scan_inputs", 0))
        axes = attributes.get("scan_input_axes") or [0] * (len(inputs) - states)
        pairs = list(zip(inputs[states:], axes, strict=False))
        trips = next((v.shape[axis] for v, axis in pairs if v and v.shape), 1)
        body, inner = dict(bodies(node))["body"], frame.body("body", node, trips)
        _bind(inner, body, [*map(running, inputs[:states]), *(slice_of(v, axis) for v, axis in pairs)])
        made = self._graph(body, inner)
        return [*map(running, made[:states]), *(stack_of(v, trips) for v in made[states:])]


def _bind(frame: Frame, body: GraphProto, values: Values) -> None:
    for parameter, value in zip(body.input, values, strict=False):
        if value is not None:
            frame.names[parameter.name] = value


def _attributes(node: NodeProto) -> dict[str, Any]:
    left_out = (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.TENSOR, AttributeProto.TENSORS)
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type not in left_out}


def _integer(value: Value | None) -> int | None:
    return int(value.data.reshape(-1)[0]) if value is not None and value.data is not None and value.data.size else None


def _bound(node: NodeProto, given: Mapping[str, AttributeProto]) -> NodeProto:
    """A node of a function's body with the attributes of the call in place."""
    if not any(a.ref_attr_name for a in node.attribute):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            copy.attribute.append(attribute)
        elif attribute.ref_attr_name in given:
            bound = copy.attribute.add()
            bound.CopyFrom(given[attribute.ref_attr_name])
            bound.name = attribute.name
    return copy
