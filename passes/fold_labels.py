"""The part of fold that shortens names inside the model, and drops remarks: in some files most of what is left."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from typing import Any

from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Edges, Key, Scope, bodies, constant_value, edges, used_names
from onnxsqueeze.model.tensors import FLOATS, elements

WEIGHT_FROM = 64  # elements; constants of fewer are no weights in any listing


def shorten_names(model: Model) -> int:
    """Gives values between nodes short names and takes the names off nodes; returns the number of names changed.

    Inputs, outputs, weights, and nodes that hold subgraphs keep their names.
    """
    wiring = edges(model.proto)
    fresh = _fresh_names(used_names(model.proto))
    changes = 0
    for scope in wiring.scopes:
        renamed: dict[str, str] = {}
        candidate = next(fresh)
        for node in scope.graph.node:
            if node.name and not any(bodies(node)):
                node.name = ""
                changes += 1
            for position, name in enumerate(node.output):
                if len(candidate) < len(name) and not _is_kept(wiring, (scope.index, name)):
                    node.output[position] = renamed[name] = candidate
                    _tell_users(wiring, (scope.index, name), candidate)
                    candidate = next(fresh)
        _tell_annotations(scope, renamed)
        changes += len(renamed)
    return changes


def remove_remarks(model: Model) -> int:
    """Takes off what exporters remark on nodes, values and tensors, such as stack traces; returns from how many.

    Remarks on the model, on graphs, and on inputs and outputs stay: programs read them.
    """
    found: list[Any] = [node for function in model.proto.functions for node in function.node]
    for scope in edges(model.proto).scopes:
        found += [*scope.graph.node, *scope.graph.value_info, *scope.graph.initializer]
        found += [tensor for node in scope.graph.node if (tensor := constant_value(node)) is not None]
    remarked = [one for one in found if one.doc_string or one.metadata_props]
    for one in remarked:
        one.doc_string = ""
        del one.metadata_props[:]
    return len(remarked)


def _fresh_names(taken: set[str]) -> Iterator[str]:
    """a, b, … z, aa, ab, …: those that are free."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            if (name := "".join(letters)) not in taken:
                yield name


def _is_kept(wiring: Edges, key: Key) -> bool:
    if key in wiring.results:
        return True
    tensor = constant_value(wiring.producers[key])
    return tensor is not None and tensor.data_type in FLOATS and elements(tensor) >= WEIGHT_FROM


def _tell_users(wiring: Edges, key: Key, name: str) -> None:
    for site in wiring.users.get(key, ()):
        site.node.input[site.input] = name


def _tell_annotations(scope: Scope, renamed: dict[str, str]) -> None:
    for value in scope.graph.value_info:
        value.name = renamed.get(value.name, value.name)
    for annotation in scope.graph.quantization_annotation:
        annotation.tensor_name = renamed.get(annotation.tensor_name, annotation.tensor_name)
