"""Inlining of model-local functions, in place."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, checker, inliner

from onnxsqueeze.model.graphs import bodies, walk
from onnxsqueeze.model.hollow import LARGE, hollow, refill
from onnxsqueeze.model.tensors import FLOATS, elements, every_tensor


def inline_heavy(model: ModelProto) -> None:
    """Inlines functions that hold weights, so that weights live in graphs only."""
    heavy = [(item.domain, item.name) for item in model.functions if _holds_weights(item.node)]
    if heavy:
        inline(model, heavy)  # where that fails, the functions stay as they are


def inline(model: ModelProto, functions: list[tuple[str, str]]) -> bool:
    """Inlines functions given by domain and name; False, and nothing changed, where that cannot be done."""
    tensors: list[TensorProto] = []
    try:
        inlined = inliner.inline_selected_functions(hollow(model, tensors), functions)
        checker.check_model(inlined)
    except Exception:  # the inliner raises all sorts
        return False
    for field in ("node", "value_info"):
        model.graph.ClearField(field)
    model.graph.node.extend(inlined.graph.node)
    model.graph.value_info.extend(inlined.graph.value_info)
    model.ClearField("functions")
    model.functions.extend(inlined.functions)
    refill(every_tensor(model), tensors)
    gone = {domain for domain, _ in functions} - _used_domains(model)
    imports = [entry for entry in inlined.opset_import if entry.domain not in gone]
    model.ClearField("opset_import")
    model.opset_import.extend(imports)
    return True


def _used_domains(model: ModelProto) -> set[str]:
    used = {node.domain for scope in walk(model) for node in scope.graph.node}
    for function in model.functions:
        used.add(function.domain)
        used.update(entry.domain for entry in function.opset_import)
    return used


def _holds_weights(nodes: Iterable[NodeProto]) -> bool:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type in FLOATS:
                if elements(attribute.t) >= LARGE:
                    return True
            elif attribute.name == "value_floats" and len(attribute.floats) >= LARGE:
                return True
        if any(_holds_weights(body.node) or _heavy_initializer(body.initializer) for _, body in bodies(node)):
            return True
    return False


def _heavy_initializer(tensors: Iterable[TensorProto]) -> bool:
    return any(tensor.data_type in FLOATS and elements(tensor) >= LARGE for tensor in tensors)
