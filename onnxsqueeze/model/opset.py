"""Raising the opset of a model, in place."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, version_converter

from onnxsqueeze.model.graphs import Edges, Key, domain, edges, unsorted_node, walk
from onnxsqueeze.model.hollow import hollow, placeholder, refill
from onnxsqueeze.model.tensors import every_tensor


def opset(model: ModelProto) -> int:
    """The version of the standard operators; 0 when the model imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def raise_opset(model: ModelProto, target: int) -> bool:
    """Converts the nodes to at least ``target``; False, and nothing changed, where that cannot be done.

    The converter sees placeholders for large tensors, and only nodes and opset are taken from its result:
    what else the model holds stays as it is.
    """
    before = opset(model)
    if before >= target:
        return True
    tensors: list[TensorProto] = []
    light = hollow(model, tensors)
    if any(scope.graph.sparse_initializer for scope in walk(model) if scope.parent is not None):
        return False
    try:
        converted = version_converter.convert_version(light, target)
        _restore_documentation(light, converted)
        if before < 11:
            _keep_sampling(converted)
        trial = ModelProto()
        trial.CopyFrom(light)
        _transplant(converted, trial)
        checker.check_model(trial)
    except Exception:  # the converter raises all sorts for operators that it does not know
        return False
    kept = sum(placeholder(tensor) is not None for tensor in every_tensor(trial))
    if unsorted_node(trial.graph) is not None or kept != len(tensors):
        return False
    _transplant(converted, model)
    refill(every_tensor(model), tensors)
    return True


def _transplant(converted: ModelProto, model: ModelProto) -> None:
    """Takes nodes, new small initializers and the opset over; everything else of the model stays."""
    known = {tensor.name for tensor in model.graph.initializer}
    model.graph.ClearField("node")
    model.graph.node.extend(converted.graph.node)
    model.graph.initializer.extend(t for t in converted.graph.initializer if t.name not in known)
    version = opset(converted)
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    for entry in standard or [model.opset_import.add()]:
        entry.version = version


def _keep_sampling(converted: ModelProto) -> None:
    """Before opset 11 Resize took other samples than the later default, which the converter forgets."""
    wiring = edges(converted)
    for scope in wiring.scopes:
        for node in scope.graph.node:
            if node.op_type == "Resize" and domain(node) == "" and len(node.input) > 2:
                key = wiring.key(scope, node.input[2])
                if _shrinks(wiring, key):
                    raise ValueError("nearest samples of a smaller picture have no like in later opsets")
                node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
                node.attribute.append(helper.make_attribute("nearest_mode", "floor"))


def _shrinks(wiring: Edges, key: Key | None) -> bool:
    tensor = None if key is None else wiring.constants.get(key)
    return tensor is not None and bool((numpy_helper.to_array(tensor) < 1).any())


def _restore_documentation(before: ModelProto, after: ModelProto) -> None:
    """Gives converted nodes the documentation and metadata of the nodes whose outputs they make."""
    olds = {(scope.path, name): node for scope in walk(before) for node in scope.graph.node for name in node.output}
    for scope in walk(after):
        for node in scope.graph.node:
            old: NodeProto | None = next(
                (olds[scope.path, name] for name in node.output if (scope.path, name) in olds), None
            )
            if old is not None and old.op_type == node.op_type:
                node.doc_string = old.doc_string
                node.name = node.name or old.name
                if not node.metadata_props:
                    node.metadata_props.extend(old.metadata_props)
