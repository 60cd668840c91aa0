"""The constants of a model as they lie in its file: bytes, zeros, encoding."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from onnxsqueeze.cost.decoding import steps
from onnxsqueeze.cost.values import FLOATING, bits_of
from onnxsqueeze.cost.walk import Walk
from onnxsqueeze.cost.workload import NodeWork, WeightWork
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.nodes import from_node
from onnxsqueeze.errors import FormatError
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import walk as scopes_of
from onnxsqueeze.model.tensors import elements, nbytes
from onnxsqueeze.runtime import native

SMALL = 64  # integers of fewer elements are shapes and axes, not weights


def weights(model: Model, walk: Walk) -> dict[str, WeightWork]:
    """Every constant of weight, by its unique name."""
    packed = _Packed(model)
    nodes = [(origin.path, origin.proto) for origin in walk.constants.values() if isinstance(origin.proto, NodeProto)]
    parts = {(path, name) for path, node in nodes for name in node.input}
    found = {}
    for name, origin in walk.constants.items():
        if isinstance(origin.proto, NodeProto):
            found[name] = packed.weight(name, origin.proto, origin.path)
        elif _counts(origin.proto) and (origin.path, origin.proto.name) not in parts:
            found[name] = _dense(model, name, origin.proto)
    return found


def _counts(tensor: TensorProto) -> bool:
    if not bits_of(tensor.data_type) or not elements(tensor):
        return False
    return tensor.data_type in FLOATING or elements(tensor) >= SMALL


def _dense(model: Model, name: str, tensor: TensorProto) -> WeightWork:
    size = nbytes(tensor) or 0
    floating = tensor.data_type in FLOATING
    shape, bits = tuple(tensor.dims), bits_of(tensor.data_type)
    values = model.read(tensor)
    zeros = _zeros(values)
    return WeightWork(name, shape, bits, floating, zeros, _pattern(values, zeros), size, "dense", ())


def _zeros(values: Any) -> int:
    if values.dtype == np.float32 and values.size:
        return native.stats(np.ascontiguousarray(values)).zeros
    return int(values.size - np.count_nonzero(values))


def _pattern(values: Any, zeros: int) -> tuple[int, int] | None:
    """(2, 4) where of every 4 neighbours along an axis at least 2 are zero, as sparse tensor cores ask for."""
    if values.size < SMALL or 2 * zeros < values.size or zeros == values.size:
        return None
    for axis, size in enumerate(values.shape):
        if size % 4 == 0:
            groups = np.moveaxis(values, axis, -1).reshape(-1, 4)
            if bool((np.count_nonzero(groups, axis=1) <= 2).all()):
                return 2, 4
    return None


class _Packed:
    """Reads packed weights where their inputs lie."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tensors: dict[str, dict[str, TensorProto]] = {}
        for scope in scopes_of(model.proto) if model.is_packed else ():
            self._tensors.setdefault(scope.path, {}).update({t.name: t for t in scope.graph.initializer})

    def weight(self, name: str, node: NodeProto, path: str) -> WeightWork:
        """One packed weight; raises FormatError where it is corrupt."""
        tensors = self._tensors.get(path, {})
        encoded = from_node(node, lambda key: self._model.read(tensors[key]) if key in tensors else None)
        try:
            values = decode(encoded)
        except FormatError as error:
            reason = str(error).removeprefix("packed weight is corrupt: ")
            raise FormatError(f"weight '{name}' is corrupt: {reason}") from error
        bits = values.itemsize * 8
        zeros = _zeros(values)
        return WeightWork(
            name,
            values.shape,
            bits,
            True,
            zeros,
            _pattern(values, zeros),
            encoded.nbytes,
            encoded.op_type,
            (),
            tuple(steps(encoded).items()),
        )


def with_nodes(found: Mapping[str, WeightWork], nodes: Iterable[NodeWork]) -> list[WeightWork]:
    """The weights with the names of the nodes that read them."""
    readers: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if node.status != "folded":
            for weight in node.weights:
                readers[weight].append(node.name)
    return [dataclasses.replace(w, nodes=tuple(readers[name])) for name, w in found.items()]
