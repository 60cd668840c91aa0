"""Layers whose weight a pass may replace by several: convolutions and matrix products with a constant side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, helper

from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Trace, Value
from onnxsqueeze.groups.walk import walk
from onnxsqueeze.groups.work import guessed
from onnxsqueeze.model import Model, Weight
from onnxsqueeze.model.graphs import Edges, Key, Site, domain, edges, remove_dead
from onnxsqueeze.model.roles import attribute, integer
from onnxsqueeze.passes.bounds import largest, unfit

if TYPE_CHECKING:
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
Ints = tuple[int, ...]

NODE_NBYTES = 400  # what one more node with its names takes in a file


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight, and all the nodes that multiply by it, at the same input."""

    weight: Weight
    key: Key
    kind: str  # "conv", "gemm", or "matmul" with the weight on the "left" or on the "right"
    sites: tuple[Site, ...]
    positions: tuple[tuple[Ints, Ints], ...]  # for each site: sizes of the spatial axes before and behind it

    @property
    def most_parameters(self) -> int:
        """As many as take the bytes of the weight, when every site becomes one node more."""
        return self.weight.size - len(self.sites) * NODE_NBYTES // self.weight.dtype.itemsize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all sites for one sample."""
        return self.weight.size * sum(math.prod(behind) for _, behind in self.positions)


def layers(model: Model, minimum: int, context: Context) -> list[Layer]:
    """The layers of at least ``minimum`` weights, without grouped convolutions; notes what holds NaN."""
    wiring = edges(model.proto)
    trace = walk(model, {}, guessed(model.proto))
    found = []
    for weight in model.weights(minimum):
        if weight.role not in ("conv", "gemm", "matmul") or weight.groups > 1:
            continue
        place = model.find(weight.name)
        key = (place.scope.index, place.local)
        sites = [] if key in wiring.results else _sites(wiring, key)
        kinds = {_kind(site, len(weight.shape)) for site in sites or ()}
        kind = kinds.pop() if len(kinds) == 1 else None
        if not sites or kind is None:
            continue
        if reason := unfit(largest(weight.values())):
            context.notes(f"'{weight.name}' {reason}: left as it is")
            continue
        found.append(Layer(weight, key, kind, tuple(sites), tuple(_positions(trace, kind, site) for site in sites)))
    return found


def _sites(wiring: Edges, key: Key) -> list[Site] | None:
    """The inputs that a constant feeds, maybe through Identity; None where one of them is not in sight."""
    found = []
    for site in wiring.users.get(key, ()):
        if site.node.op_type == "Identity" and domain(site.node) == "":
            behind = wiring.key(site.scope, site.node.output[0])
            inner = None if behind is None or behind in wiring.results else _sites(wiring, behind)
            if inner is None:
                return None
            found += inner
        else:
            found.append(site)
    return found


def _kind(site: Site, ndim: int) -> str | None:
    node = site.node
    if domain(node) != "":
        return None
    if node.op_type == "Conv" and site.input == 1 and ndim >= 3 and integer(node, "group", 1) == 1:
        return "conv"
    if node.op_type == "Gemm" and site.input == 1 and ndim == 2:
        return f"gemm {integer(node, 'transB', 0)}"
    if node.op_type == "MatMul" and ndim == 2:
        return "right" if site.input == 1 else "left"
    return None


def _positions(trace: Trace, kind: str, site: Site) -> tuple[Ints, Ints]:
    """Spatial sizes before and behind a convolution; where they are not known, as the strides relate them."""
    node = site.node
    if kind != "conv":
        return (), ()
    before = _spatial(_value(trace, site, node.input[0]))
    behind = _spatial(_value(trace, site, node.output[0]))
    if before is None or behind is None or len(before) != len(behind):
        strides = settings(node, "strides", len(before or behind or (0, 0)), 1)
        return strides, (1,) * len(strides)
    return before, behind


def _value(trace: Trace, site: Site, name: str) -> Value | None:
    scope: Any = site.scope
    while scope is not None:
        if (scope.index, name) in trace.names:
            return trace.names[scope.index, name]
        scope = scope.parent
    return None


def _spatial(value: Value | None) -> Ints | None:
    sizes: list[Size] = [axis.size for axis in (value.axes or ())[2:]] if value is not None else []
    return tuple(size.factor for size in sizes) if sizes and all(size.known for size in sizes) else None


def settings(node: NodeProto, name: str, count: int, default: int) -> Ints:
    """The values of an attribute of several integers."""
    given = attribute(node, name, None)
    return tuple(given) if isinstance(given, (list, tuple)) and len(given) == count else (default,) * count


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of those that take a layer's place: its weight, and which spatial axes are its own (convolutions)."""

    weight: Array
    axes: Ints = ()
    group: int = 1


def replace(model: Model, layer: Layer, stages: Sequence[Stage]) -> None:
    """Puts two stages in the place of every node of a layer; ``tidy`` removes the old weight."""
    model.notes.pop(layer.weight.name, None)
    defining = model.find(layer.weight.name).scope.graph
    names = []
    for number, stage in enumerate(stages):
        name = model.unique_name(f"{layer.key[1]}.{number}")
        tensor = defining.initializer.add(
            name=name, dims=stage.weight.shape, data_type=helper.np_dtype_to_tensor_dtype(layer.weight.dtype)
        )
        model.write(tensor, np.ascontiguousarray(stage.weight))
        names.append(name)
    for site in layer.sites:
        inner = model.unique_name(f"{site.node.output[0]}.inner")
        first, second = MAKERS[layer.kind.split()[0]](site.node, stages, names, inner)
        first.name = model.unique_name(f"{site.node.name or inner}.first")
        place = _place(site.scope.graph, site.node)
        site.scope.graph.node[place].CopyFrom(second)
        site.scope.graph.node.insert(place, first)


def tidy(model: Model) -> None:
    """Removes weights that nothing uses any more."""
    remove_dead(model.proto.graph)
    model.refresh()


def _place(graph: GraphProto, node: NodeProto) -> int:
    return next(i for i, other in enumerate(graph.node) if other.output[:1] == node.output[:1])


def _conv(node: NodeProto, stages: Sequence[Stage], names: Sequence[str], inner: str) -> tuple[NodeProto, NodeProto]:
    first = _convolution(node, stages[0], [node.input[0], names[0]], inner)
    second = _convolution(node, stages[1], [inner, names[1], *node.input[2:3]], node.output[0])
    second.name, second.doc_string = node.name, node.doc_string
    second.metadata_props.extend(node.metadata_props)
    return first, second


def _convolution(node: NodeProto, stage: Stage, inputs: list[str], output: str) -> NodeProto:
    """Stride, dilation and padding of the original along the stage's own axes; padding adds zeros, as before."""
    rank = stage.weight.ndim - 2
    own = [axis in stage.axes for axis in range(rank)]
    made = helper.make_node("Conv", inputs, [output], kernel_shape=stage.weight.shape[2:], group=stage.group)
    for name in ("strides", "dilations"):
        given = settings(node, name, rank, 1)
        chosen = [value if mine else 1 for value, mine in zip(given, own, strict=True)]
        made.attribute.append(helper.make_attribute(name, chosen))
    padding = attribute(node, "auto_pad", b"NOTSET")
    if padding in (b"SAME_UPPER", b"SAME_LOWER") and any(own):
        made.attribute.append(helper.make_attribute("auto_pad", padding))  # nothing along axes of kernel 1, stride 1
    elif padding == b"NOTSET":
        pads = [value if mine else 0 for value, mine in zip(settings(node, "pads", 2 * rank, 0), own * 2, strict=True)]
        made.attribute.append(helper.make_attribute("pads", pads))
    return made


def _gemm(node: NodeProto, stages: Sequence[Stage], names: Sequence[str], inner: str) -> tuple[NodeProto, NodeProto]:
    first, second = NodeProto(), NodeProto()
    second.CopyFrom(node)
    first.CopyFrom(helper.make_node("Gemm", [node.input[0], names[0]], [inner]))
    for item in node.attribute:
        if item.name in ("transA", "transB"):
            first.attribute.add().CopyFrom(item)
    for position in range(len(second.attribute) - 1, -1, -1):
        if second.attribute[position].name == "transA":
            del second.attribute[position]
    second.input[0], second.input[1] = inner, names[1]
    return first, second


def _right(node: NodeProto, stages: Sequence[Stage], names: Sequence[str], inner: str) -> tuple[NodeProto, NodeProto]:
    return _products(node, [node.input[0], names[0]], [inner, names[1]], inner)


def _left(node: NodeProto, stages: Sequence[Stage], names: Sequence[str], inner: str) -> tuple[NodeProto, NodeProto]:
    return _products(node, [names[1], node.input[1]], [names[0], inner], inner)


def _products(node: NodeProto, one: list[str], other: list[str], inner: str) -> tuple[NodeProto, NodeProto]:
    second = NodeProto()
    second.CopyFrom(node)
    second.input[:] = other
    return helper.make_node("MatMul", one, [inner]), second


MAKERS: dict[str, Any] = {"conv": _conv, "gemm": _gemm, "right": _right, "left": _left}
