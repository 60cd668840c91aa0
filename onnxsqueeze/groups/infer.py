"""Sizes of a node's outputs as onnx infers them: the spatial sizes of convolutions, pooling, padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnx import NodeProto, OperatorSetIdProto, TensorProto, TypeProto, defs, helper, shape_inference

from onnxsqueeze.groups.sizes import Size, unknown
from onnxsqueeze.groups.value import NOTHING, Axis, Value
from onnxsqueeze.model.graphs import bodies
from onnxsqueeze.model.tensors import bits, elements

SMALL = 16  # elements of a constant that sizes may follow from


class Inference:
    """Asks onnx node by node; unknown sizes keep their names."""

    def __init__(self, imports: Iterable[OperatorSetIdProto], sizes: Mapping[str, int]) -> None:
        self._imports = list(imports)
        self._versions = {"" if e.domain == "ai.onnx" else e.domain: e.version for e in self._imports}
        self._sizes = {name: Size(size) for name, size in sizes.items()}

    def named(self, name: str) -> Size:
        """The size that a name stands for."""
        return self._sizes.setdefault(name, unknown(name))

    def outputs(self, node: NodeProto, inputs: Sequence[Value | None]) -> list[Value]:
        """The outputs without channels; empty where onnx cannot tell."""
        own = "" if node.domain == "ai.onnx" else node.domain
        if any(True for _ in bodies(node)) or own not in self._versions or not defs.has(node.op_type, own):
            return []
        types, data = {}, {}
        for name, value in zip(node.input, inputs, strict=True):
            if value is not None and value.kind:
                types[name] = self._type(value)
                tensor = _data(name, value)
                if tensor is not None:
                    data[name] = tensor
        try:
            schema = defs.get_schema(node.op_type, self._versions[own], own)
            found = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self._imports)
        except Exception:  # what onnx cannot infer it refuses in many ways
            return []
        return [self._value(name, found.get(name)) for name in node.output]

    def _type(self, value: Value) -> TypeProto:
        if value.axes is None:
            return helper.make_tensor_type_proto(value.kind, None)
        dims: list[int | str | None] = []
        for axis in value.axes:
            if not axis.size.known:
                self._sizes[str(axis.size)] = axis.size
            dims.append(axis.size.factor if axis.size.known else str(axis.size))
        return helper.make_tensor_type_proto(value.kind, dims)

    def _value(self, name: str, kind: TypeProto | None) -> Value:
        if kind is None or not kind.HasField("tensor_type"):
            return NOTHING
        return self.declared(name, kind)

    def declared(self, name: str, kind: TypeProto) -> Value:
        """A value of a type; sizes without a name are named after the value."""
        tensor = kind.tensor_type
        if not tensor.HasField("shape"):
            return Value(None, tensor.elem_type)
        axes = []
        for place, dim in enumerate(tensor.shape.dim):
            known = dim.HasField("dim_value") and dim.dim_value >= 0
            axes.append(Axis(Size(dim.dim_value) if known else self.named(dim.dim_param or f"{name}[{place}]")))
        return Value(tuple(axes), tensor.elem_type)


def _data(name: str, value: Value) -> TensorProto | None:
    """A small constant input, for onnx to infer sizes from."""
    held = value.contents
    if held is not None and all(isinstance(size, Size) and size.known for size in held.flat):
        kind = value.kind or TensorProto.INT64
        return helper.make_tensor(name, kind, held.shape, [size.factor for size in held.flat])
    tensor = value.tensor
    if tensor is not None and bits(tensor) and elements(tensor) <= SMALL and not tensor.external_data:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = name
        return copy
    return None
