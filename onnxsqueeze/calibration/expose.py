"""Makes values inside a model outputs of it, also those of If branches, of Loop and of Scan bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from onnxsqueeze.model.graphs import Key, Scope, bodies, unique_name, used_names, walk


def expose(model: ModelProto, values: Sequence[Key], sizes: bool = False) -> list[str | None]:
    """Replaces the model's outputs by these values, as float32, or by their shapes; in place.

    Returns the output of each value; None where it cannot leave its subgraph. Of a branch that does not run comes an
    empty array; of a body that runs often, all its runs one after another.
    """
    scopes, taken = walk(model), used_names(model)
    names: list[str | None] = []
    del model.graph.output[:]
    for scope, name in values:
        graph = scopes[scope].graph
        inner = unique_name("calibration", taken)
        if sizes:
            node = helper.make_node("Shape", [name], [inner])
            kind = TensorProto.INT64
        else:
            node = helper.make_node("Cast", [name], [inner], to=TensorProto.FLOAT)
            kind = TensorProto.FLOAT
        graph.node.append(node)
        outer = _lift(scopes[scope], inner, kind, taken)
        if outer is not None:
            model.graph.output.append(helper.make_empty_tensor_value_info(outer))
        names.append(outer)
    return names


def _lift(scope: Scope, name: str, kind: int, taken: set[str]) -> str | None:
    """The name under which a value of a scope is known in the main graph."""
    while scope.parent is not None:
        node = scope.owner
        if node is None or not _can_lift(node):
            return None
        outer = unique_name("calibration", taken)
        if node.op_type == "If":
            for branch in _branches(node):
                own = branch is scope.graph
                branch.output.append(_info(name if own else _empty(branch, kind, taken), kind))
        else:
            scope.graph.output.append(_info(name, kind))
        node.output.append(outer)
        name, scope = outer, scope.parent
    return name


def _can_lift(node: NodeProto) -> bool:
    placed = any(a.name in ("scan_output_axes", "scan_output_directions") for a in node.attribute)
    return node.op_type in ("If", "Loop") or (node.op_type == "Scan" and not placed)


def _branches(node: NodeProto) -> Iterator[GraphProto]:
    return (body for _, body in bodies(node))


def _empty(graph: GraphProto, kind: int, taken: set[str]) -> str:
    name = unique_name("calibration", taken)
    graph.node.append(helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, [0], [])))
    return name


def _info(name: str, kind: int) -> object:
    return helper.make_tensor_value_info(name, kind, None)
