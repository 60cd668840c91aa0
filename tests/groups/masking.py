"""The original model with channels set to zero wherever they appear: what removal must equal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxsqueeze.groups import analyse
from onnxsqueeze.model import Model

Array = np.ndarray[Any, Any]
FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}


def masked(source: onnx.ModelProto | Path, kept: Mapping[int, Array]) -> Model:
    """Every value is zero in the channels that are not kept; means are over those that are.

    Masks are nodes of their own, after each node: nothing is sliced here, no shape is touched.
    """
    view = Model.load(source)
    groups = analyse(view)
    removed = np.zeros(groups.solution.units + 1, bool)
    for number, units in kept.items():
        removed[np.setdiff1d(groups[number].units, groups[number].units[units])] = True

    def keep(labels: Array) -> Array:
        terms = np.where(labels[..., None] < 0, groups.solution.units, groups.solution.terms[labels])
        terms = np.where(terms < 0, groups.solution.units, terms)
        return ~removed[terms].any(axis=(1, 2))

    after: dict[int, list[tuple[NodeProto, list[NodeProto]]]] = {}
    for step in groups.trace.steps:
        if step.node.op_type in ("LSTM", "GRU", "RNN"):
            _cut_recurrence(groups, step, keep)
        new: list[NodeProto] = []
        for position, value in enumerate(step.outputs):
            name = step.node.output[position] if position < len(step.node.output) else ""
            masks = [None if axis.labels is None else keep(axis.labels) for axis in value.axes or ()]
            scale = _mean_scale(step, keep)
            if not name or value.kind not in FLOATS or (scale == 1 and all(m is None or m.all() for m in masks)):
                continue
            inner = f"{name}.unmasked"
            step.node.output[position] = inner
            if position == 0 and step.node.op_type in STATISTICS:
                new += STATISTICS[step.node.op_type](step, keep, FLOATS[value.kind])
            new += _mask(step.scope.graph, inner, name, masks, scale, FLOATS[value.kind])
        if new:
            after.setdefault(id(step.scope.graph), []).append((step.node, new))
    for scope in reversed(groups.trace.scopes):  # bodies first, as nodes are copied with theirs
        _insert(scope.graph, after.get(id(scope.graph), []))
        del scope.graph.value_info[:]
    view.refresh()
    return view


def _mean_scale(step: Any, keep: Any) -> float:
    """Means over channels are over those that are kept."""
    data = step.inputs[0] if step.inputs else None
    if step.node.op_type != "ReduceMean" or data is None or data.axes is None:
        return 1
    axes = step.attributes.get("axes")
    if axes is None and len(step.inputs) > 1:
        axes = [size.factor for size in step.inputs[1].contents]
    scale = 1.0
    for axis in axes or range(len(data.axes)):
        labels = data.axes[axis].labels
        if labels is not None:
            mask = keep(labels)
            scale *= len(mask) / mask.sum()
    return scale


def _mask(graph: GraphProto, source: str, target: str, masks: list[Any], scale: float, kind: Any) -> list[NodeProto]:
    nodes = []
    if scale != 1:
        _constant(graph, f"{target}.scale", np.array(scale, kind))
        nodes.append(helper.make_node("Mul", [source, f"{target}.scale"], [f"{source}.scaled"]))
        source = f"{source}.scaled"
    whole = np.ones((), bool)
    for axis, mask in enumerate(masks):
        if mask is not None:  # a mask of two axes begins at its own
            whole = whole & mask.reshape(*mask.shape, *[1] * (len(masks) - mask.ndim - axis))
    _constant(graph, f"{target}.mask", whole)
    _constant(graph, f"{target}.zero", np.zeros((), kind))
    nodes.append(helper.make_node("Where", [f"{target}.mask", source, f"{target}.zero"], [target]))
    return nodes


def _constant(graph: GraphProto, name: str, values: Array) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name))


def _layer_normalization(step: Any, keep: Any, kind: Any) -> list[NodeProto]:
    """The same over the channels that are kept, in plain operators; the node itself computes for nobody."""
    node, axes = step.node, step.inputs[0].axes
    first = step.attributes.get("axis", -1) % len(axes)
    masks = [None if axis.labels is None else keep(axis.labels) for axis in axes]
    count = np.prod([axes[i].size.factor if masks[i] is None else masks[i].sum() for i in range(first, len(axes))])
    return _normalised(step, masks, list(range(first, len(axes))), count, kind, node.input[0], node.output[0])


def _group_normalization(step: Any, keep: Any, kind: Any) -> list[NodeProto]:
    """With the channels as [groups, channels of a group]."""
    node, axes, graph = step.node, step.inputs[0].axes, step.scope.graph
    name, groups = node.output[0], step.attributes["num_groups"]
    mask = keep(axes[1].labels).reshape(groups, -1)
    sizes = [axis.size.factor for axis in axes]
    count = mask.sum(axis=1).max() * np.prod(sizes[2:])
    _constant(graph, f"{name}.split", np.array([*sizes[:1], *mask.shape, *sizes[2:]], np.int64))
    _constant(graph, f"{name}.whole", np.array(sizes, np.int64))
    nodes = [helper.make_node("Reshape", [node.input[0], f"{name}.split"], [f"{name}.parts"])]
    masks: list[Any] = [None, mask, *[None] * (len(sizes) - 1)]
    nodes += _normalised(step, masks, list(range(2, len(sizes) + 1)), count, kind, f"{name}.parts", f"{name}.normal")
    nodes.append(helper.make_node("Reshape", [f"{name}.normal", f"{name}.whole"], [f"{name}.flat"]))
    shape = [-1, *[1] * len(sizes[2:])]
    _constant(graph, f"{name}.column", np.array(shape, np.int64))
    for place, op_type, source in ((1, "Mul", f"{name}.flat"), (2, "Add", f"{name}.scaled")):
        nodes.append(helper.make_node("Reshape", [node.input[place], f"{name}.column"], [f"{name}.{op_type}"]))
        target = f"{name}.scaled" if place == 1 else name
        nodes.append(helper.make_node(op_type, [source, f"{name}.{op_type}"], [target]))
    node.output[0] = f"{name}.unused"
    return nodes


def _normalised(
    step: Any, masks: list[Any], places: list[int], count: Any, kind: Any, source: str, target: str
) -> list[NodeProto]:
    """(x - mean) / sqrt(variance + epsilon) over some axes, times scale plus bias for a LayerNormalization."""
    node, graph = step.node, step.scope.graph
    stem = f"{node.output[0]}.norm"
    _constant(graph, f"{stem}.axes", np.array(places, np.int64))
    _constant(graph, f"{stem}.count", np.array(count, kind))
    _constant(graph, f"{stem}.epsilon", np.array(step.attributes.get("epsilon", 1e-5), kind))
    nodes = [
        helper.make_node("ReduceSum", [source, f"{stem}.axes"], [f"{stem}.sum"]),
        helper.make_node("Div", [f"{stem}.sum", f"{stem}.count"], [f"{stem}.mean"]),
        helper.make_node("Sub", [source, f"{stem}.mean"], [f"{stem}.off.unmasked"]),
        *_mask(graph, f"{stem}.off.unmasked", f"{stem}.off", masks, 1, kind),
        helper.make_node("Mul", [f"{stem}.off", f"{stem}.off"], [f"{stem}.square"]),
        helper.make_node("ReduceSum", [f"{stem}.square", f"{stem}.axes"], [f"{stem}.squares"]),
        helper.make_node("Div", [f"{stem}.squares", f"{stem}.count"], [f"{stem}.variance"]),
        helper.make_node("Add", [f"{stem}.variance", f"{stem}.epsilon"], [f"{stem}.shifted"]),
        helper.make_node("Sqrt", [f"{stem}.shifted"], [f"{stem}.root"]),
    ]
    if node.op_type != "LayerNormalization":
        return [*nodes, helper.make_node("Div", [f"{stem}.off", f"{stem}.root"], [target])]
    nodes.append(helper.make_node("Div", [f"{stem}.off", f"{stem}.root"], [f"{stem}.normal"]))
    bias = len(node.input) > 2
    nodes.append(helper.make_node("Mul", [f"{stem}.normal", node.input[1]], [f"{stem}.scaled" if bias else target]))
    if bias:
        nodes.append(helper.make_node("Add", [f"{stem}.scaled", node.input[2]], [target]))
    node.output[0] = f"{target}.unused"
    return nodes


STATISTICS = {"LayerNormalization": _layer_normalization, "GroupNormalization": _group_normalization}


def _cut_recurrence(groups: Any, step: Any, keep: Any) -> None:
    """Hidden units that are gone say nothing to the others from one step to the next."""
    value = step.inputs[2]
    labels = value.axes[2].labels
    if labels is None or keep(labels).all():
        return
    made = numpy_helper.to_array(value.tensor)[..., :] * keep(labels)
    name = f"{step.node.output[0]}.recurrence"
    _constant(step.scope.graph, name, made.astype(numpy_helper.to_array(value.tensor).dtype))
    step.node.input[2] = name


def _insert(graph: GraphProto, after: list[tuple[NodeProto, list[NodeProto]]]) -> None:
    nodes: list[NodeProto] = []
    new = {node.output[0] if node.output else "": made for node, made in after}
    for node in graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        nodes.append(copy)
        nodes += new.get(node.output[0] if node.output else "", [])
    del graph.node[:]
    graph.node.extend(nodes)
