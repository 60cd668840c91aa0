"""Edits that turn a packed model back into a dense one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from onnxsqueeze.model.graphs import walk
from onnxsqueeze.model.load import parse
from onnxsqueeze.model.tensors import every_tensor, external_file, is_external


def replace_nodes(graph: GraphProto, made: dict[str, TensorProto]) -> None:
    """Removes the nodes that make the named values and adds the tensors as initializers.

    The other nodes stay the same objects: those who hold their subgraphs still hold parts of the model.
    """
    for position in range(len(graph.node) - 1, -1, -1):
        if any(name in made for name in graph.node[position].output):
            del graph.node[position]
    for tensor in made.values():
        graph.initializer.append(tensor)


def drop_unused(model: ModelProto, candidates: set[str]) -> None:
    """Removes those initializers that nothing uses any more."""
    scopes = walk(model)
    used = {name for scope in scopes for node in scope.graph.node for name in node.input}
    used |= {value.name for scope in scopes for value in scope.graph.output}
    for scope in scopes:
        kept = [t for t in scope.graph.initializer if t.name not in candidates or t.name in used]
        if len(kept) < len(scope.graph.initializer):
            del scope.graph.initializer[:]
            scope.graph.initializer.extend(kept)


def drop_domain(model: ModelProto, domain: str) -> None:
    """Removes a domain's functions, its version and its metadata."""
    _keep(model.functions, [f for f in model.functions if f.domain != domain])
    _keep(model.opset_import, [o for o in model.opset_import if o.domain != domain])
    _keep(model.metadata_props, [p for p in model.metadata_props if not p.key.startswith(domain + ".")])


def _keep(field: object, kept: Iterable[object]) -> None:
    listed = list(kept)
    del field[:]  # type: ignore[attr-defined]
    field.extend(listed)  # type: ignore[attr-defined]


def inputs_of(nodes: Iterable[NodeProto]) -> set[str]:
    """Names of all inputs."""
    return {name for node in nodes for name in node.input}


def external_files(model: ModelProto, folder: Path | None) -> set[Path]:
    """The files that hold external data of a model that lies in ``folder``."""
    return {external_file(t, folder, None) for t in every_tensor(model) if is_external(t)}


def files_of(path: Path, model: ModelProto | None = None) -> list[Path]:
    """The files of a model: itself, and those that hold its external data; ``model``: what ``path`` holds, if known."""
    model = parse(path) if model is None else model
    return [path, *sorted(external_files(model, path.parent))]


def file_nbytes(path: Path, model: ModelProto | None = None) -> int:
    """Bytes of a model's file and of its external data."""
    return sum(file.stat().st_size for file in files_of(path, model))
