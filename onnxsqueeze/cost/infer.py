"""Types and small contents of one node's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TypeProto, defs, helper, numpy_helper, shape_inference

from onnxsqueeze.cost.microsoft import contrib_types
from onnxsqueeze.cost.values import KNOWN, Array, Value, tensor_type
from onnxsqueeze.model.graphs import domain


class Unknown(Exception):
    """The types cannot be told; the text says why."""


class Clash(Unknown):
    """The shapes of the inputs contradict each other."""


@lru_cache(maxsize=1024)
def _schema(op_type: str, version: int, space: str) -> Any:
    try:
        return defs.get_schema(op_type, version, space)
    except defs.SchemaError:
        return None


def infer(node: NodeProto, inputs: Sequence[Value | None], opsets: Mapping[str, int]) -> list[TypeProto | None]:
    """The types of the outputs; raises Unknown."""
    space = domain(node)
    types = contrib_types(node, inputs)
    if types is not None:
        return types
    version = opsets.get(space, opsets.get("ai.onnx", 0)) if space == "" else opsets.get(space, 0)
    schema = _schema(node.op_type, version, space)
    if schema is None:
        raise Unknown(f"operator '{space + '.' if space else ''}{node.op_type}' is unknown")
    known = {name: v for name, v in zip(node.input, inputs, strict=True) if v is not None and v.type is not None}
    data = {name: numpy_helper.from_array(v.data) for name, v in known.items() if v.data is not None}
    imports = [helper.make_opsetid(name, number) for name, number in opsets.items()]
    try:
        found = shape_inference.infer_node_outputs(
            schema,
            node,
            {name: v.type for name, v in known.items() if v.type is not None},
            data,
            opset_imports=imports,
            ir_version=onnx.IR_VERSION,
        )
    except shape_inference.InferenceError as error:
        raise Clash(str(error)) from None
    except Exception as error:  # the native inference raises all sorts for unusual nodes
        raise Unknown(str(error).splitlines()[0]) from None
    types = [found.get(name) if name else None for name in node.output]
    return [_bounded(node, t, inputs) for t in types]


def _bounded(node: NodeProto, found: TypeProto | None, inputs: Sequence[Value | None]) -> TypeProto | None:
    """Sizes that depend on the data get their upper bound: the number of elements looked at."""
    first = inputs[0] if inputs else None
    if found is None or first is None or first.shape is None or node.op_type not in _DATA_DEPENDENT:
        return found
    sizes = [d.dim_value if d.HasField("dim_value") else first.elements for d in found.tensor_type.shape.dim]
    return tensor_type(found.tensor_type.elem_type, tuple(sizes))


_DATA_DEPENDENT = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
_NEVER = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Dropout", "Multinomial"})


def contents(
    node: NodeProto, inputs: Sequence[Value | None], types: Sequence[TypeProto | None], opsets: Mapping[str, int]
) -> list[Array | None] | None:
    """The outputs' contents, where the inputs' are known and all is small; None otherwise."""
    if domain(node) != "" or node.op_type in _NEVER:
        return None
    if node.op_type in ("Shape", "Size"):
        return _shape_contents(node, inputs[0])
    if not inputs or any(v is not None and v.data is None for v in inputs) or not any(inputs):
        return None
    sizes = [Value("", t).elements for t in types]
    if any(size > KNOWN for size in sizes):
        return None
    return _reference(node, [None if v is None else v.data for v in inputs], opsets)


def _shape_contents(node: NodeProto, value: Value | None) -> list[Array | None] | None:
    if value is None or value.shape is None:
        return None
    if node.op_type == "Size":
        return [np.array(value.elements, np.int64)]
    bounds = {a.name: int(a.i) for a in node.attribute}
    return [np.array(value.shape[bounds.get("start", 0) : bounds.get("end", len(value.shape))], np.int64)]


def _reference(node: NodeProto, data: list[Array | None], opsets: Mapping[str, int]) -> list[Array | None] | None:
    """Runs onnx's reference implementation of one operator."""
    from onnx.reference.ops import load_op

    version = opsets.get("", opsets.get("ai.onnx", 0))
    parameters = {
        "log": lambda *_: None,
        "opsets": dict(opsets),
        "verbose": 0,
        "new_ops": None,
        "existing_functions": {},
    }
    try:
        with np.errstate(all="ignore"):
            results = load_op("", node.op_type, version)(node, parameters).run(*data)
    except Exception:  # what it cannot run stays unknown
        return None
    arrays = [np.asarray(r) if isinstance(r, np.ndarray | np.generic) else None for r in results]
    return [a if a is not None and a.size <= KNOWN and a.dtype != object else None for a in arrays]
