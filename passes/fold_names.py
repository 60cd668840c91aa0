"""The parts of fold that only change which name a node reads: Identity nodes and equal tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from onnx import NodeProto, TensorProto

from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Edges, Key, Scope, constant_value, domain, edges
from onnxsqueeze.model.tensors import nbytes
from onnxsqueeze.model.weights import find


def remove_identities(wiring: Edges) -> int:
    """Removes Identity nodes; those that a graph needs to hand a value on to an output stay."""
    changes = 0
    for scope in wiring.scopes:
        done = []
        for position, node in enumerate(scope.graph.node):
            is_identity = node.op_type == "Identity" and domain(node) == "" and len(node.output) == 1
            if is_identity and (_bypass(wiring, scope, node) or _rename(wiring, scope, node)):
                done.append(position)
        for position in reversed(done):
            del scope.graph.node[position]
        changes += len(done)
    return changes


def _bypass(wiring: Edges, scope: Scope, node: NodeProto) -> bool:
    source = wiring.key(scope, node.input[0])
    return source is not None and wiring.redirect((scope.index, node.output[0]), source)


def _rename(wiring: Edges, scope: Scope, node: NodeProto) -> bool:
    """The value before the node takes the name of the value behind it, which an output needs."""
    source, target = (scope.index, node.input[0]), (scope.index, node.output[0])
    maker = wiring.producers.get(source)
    if maker is None or source in wiring.results:
        return False
    sites = wiring.users.get(source, [])
    if any(wiring.key(site.scope, target[1]) != target for site in sites):
        return False
    maker.output[list(maker.output).index(source[1])] = target[1]
    for site in sites:
        site.node.input[site.input] = target[1]
    wiring.users.setdefault(target, []).extend(site for site in wiring.users.pop(source) if site.node is not node)
    wiring.producers[target] = wiring.producers.pop(source)
    if source in wiring.constants:
        wiring.constants[target] = wiring.constants.pop(source)
    return True


def share_duplicates(model: Model) -> int:
    """Users of a tensor read the first one of the same type, shape and bytes in the same graph."""
    wiring = edges(model.proto)
    noted = _noted(model)
    changes = 0
    for scope in wiring.scopes:
        groups: dict[tuple[int, tuple[int, ...]], list[tuple[Key, TensorProto]]] = {}
        for key, tensor in _constants(scope):
            if nbytes(tensor) is not None and key not in noted:
                groups.setdefault((tensor.data_type, tuple(tensor.dims)), []).append((key, tensor))
        for members in groups.values():
            changes += _share(model, wiring, members) if len(members) > 1 else 0
    return changes


def _share(model: Model, wiring: Edges, members: list[tuple[Key, TensorProto]]) -> int:
    first: dict[bytes, Key] = {}
    changes = 0
    for key, tensor in members:
        kept = first.setdefault(hashlib.sha256(model.data(tensor)).digest(), key)
        if kept != key and wiring.users.get(key) and wiring.redirect(key, kept):
            changes += 1
    return changes


def _constants(scope: Scope) -> Iterator[tuple[Key, TensorProto]]:
    """Initializers that no input overrides, then Constant nodes."""
    inputs = {value.name for value in scope.graph.input}
    for tensor in scope.graph.initializer:
        if tensor.name not in inputs:
            yield (scope.index, tensor.name), tensor
    for node in scope.graph.node:
        tensor = constant_value(node)
        if tensor is not None:
            yield (scope.index, node.output[0]), tensor


def _noted(model: Model) -> set[Key]:
    """Weights with annotations, which are not to be mixed up with others."""
    if not model.notes:
        return set()
    return {(f.scope.index, f.local) for name, f in find(model.proto).items() if name in model.notes}
