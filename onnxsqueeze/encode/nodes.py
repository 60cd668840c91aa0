"""Packed weights as ONNX nodes, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.names import INPUT_TYPES, spec_of
from onnxsqueeze.errors import FormatError

Array = npt.NDArray[Any]


def to_node(encoded: Encoded, output: str, prefix: str) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """The decode node that produces ``output`` and its initializers, named ``prefix`` + input."""
    inputs = spec_of(encoded.op_type).inputs
    names = {key: prefix + key for key in inputs}
    attributes: dict[str, Any] = dict(encoded.attributes)
    if encoded.to:
        attributes["to"] = encoded.to
    node = helper.make_node(encoded.op_type, list(names.values()), [output], domain=DOMAIN, **attributes)
    return node, [numpy_helper.from_array(encoded.inputs[key], names[key]) for key in inputs]


def from_node(node: onnx.NodeProto, read: Callable[[str], Array | None]) -> Encoded:
    """The packed weight of a decode node; ``read`` gives an initializer's array, or None where there is none.

    Raises FormatError for unknown operators, missing inputs and attributes, and wrong types.
    """
    where = f"node that makes '{node.output[0] if node.output else '?'}'"
    spec = spec_of(node.op_type)
    if len(node.input) != len(spec.inputs) or len(node.output) != 1:
        raise FormatError(f"{where}: {node.op_type} takes {len(spec.inputs)} inputs and gives 1 output")
    inputs = {}
    for key, name in zip(spec.inputs, node.input, strict=True):
        array = read(name)
        if array is None:
            raise FormatError(f"{where}: input '{name}' is not an initializer")
        if array.dtype.name not in INPUT_TYPES[key] or array.ndim != 1:
            raise FormatError(f"{where}: input '{name}' must be a vector of {INPUT_TYPES[key][0]}, not {array.dtype}")
        inputs[key] = array
    attributes, to = {}, 0
    for attribute in node.attribute:
        if attribute.name == "to":
            to = int(attribute.i)
        else:
            attributes[attribute.name] = [int(v) for v in attribute.ints]
    _check_attributes(spec_of(node.op_type).layout, attributes, to, where)
    return Encoded(node.op_type, inputs, attributes, to)


_REQUIRED = {
    "Fill": (),
    "Dense": (),
    "Gaps": ("entries",),
    "NM": ("entries", "groups", "kept", "moved", "perm"),
}


def _check_attributes(layout: str, attributes: dict[str, list[int]], to: int, where: str) -> None:
    for name in ("shape", *_REQUIRED[layout]):
        if name not in attributes:
            raise FormatError(f"{where}: attribute '{name}' is missing")
    if to not in (0, 10, 11):
        raise FormatError(f"{where}: attribute 'to' is {to}, which is neither float16 nor float64")
