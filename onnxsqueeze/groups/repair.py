"""What depends on sizes follows them: targets of Reshape, bounds of Slice, sizes of Split, groups, hidden sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper

from onnxsqueeze.groups.channels import Labels
from onnxsqueeze.groups.contents import contents
from onnxsqueeze.groups.group import Groups
from onnxsqueeze.groups.rules.selections import slice_ranges
from onnxsqueeze.groups.rules.shapes import target_sizes
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Axis, Contents, Op, Step, Value
from onnxsqueeze.model.graphs import domain

Keep = Callable[[Labels], npt.NDArray[np.bool_]]
Wanted = Sequence[int | None]  # None: as it is computed


class Repair:
    """Goes through the nodes in order, with the sizes that values will have."""

    def __init__(self, groups: Groups, keep: Keep) -> None:
        self.groups, self.trace, self.keep = groups, groups.trace, keep
        self._sizes: dict[int, int] = {}  # by identity of labels
        self._contents: dict[int, Contents | None] = {}  # by identity of values
        self._added: list[tuple[GraphProto, NodeProto, NodeProto]] = []  # graph, new node, the node that reads it

    def run(self) -> None:
        """Repairs every node and every declared shape."""
        for number, name, labels in self.trace.counts:
            self._count(self.trace.steps[number].node, name, int(self.keep(labels).sum()))
        for step in self.trace.steps:
            self._step(step)
        for graph, node, reader in self._added:
            place = next(i for i, other in enumerate(graph.node) if other is reader or other == reader)
            graph.node.insert(place, node)
        self._declarations()

    def _count(self, node: NodeProto, name: str, count: int) -> None:
        """An attribute that counts channels."""
        for attribute in node.attribute:
            if attribute.name == name:
                attribute.i = count
                return

    def shrunk(self, value: Value | None) -> Value | None:
        """The value as it will be."""
        if value is None:
            return None
        held = self._contents.get(id(value), value.contents)
        if value.axes is None:
            return replace(value, contents=held)
        return replace(value, axes=tuple(self._axis(axis) for axis in value.axes), contents=held)

    def _axis(self, axis: Axis) -> Axis:
        if axis.labels is None:
            return axis
        key = id(axis.labels)
        if key not in self._sizes:
            self._sizes[key] = int(self.keep(axis.labels).sum())
        return Axis(Size(self._sizes[key]), axis.labels)

    def _step(self, step: Step) -> None:
        node = step.node
        if domain(node) != "":
            return
        inputs = tuple(self.shrunk(value) for value in step.inputs)
        repair, handled = REPAIRS.get(node.op_type, (None, ()))
        if repair is not None:
            repair(self, step, inputs)
        if step.outputs and step.outputs[0].contents is not None and step.inputs:
            self._contents[id(step.outputs[0])] = contents(node.op_type, inputs, step.attributes)
        else:
            for position, (old, new) in enumerate(zip(step.inputs, inputs, strict=True)):
                if position not in handled and old is not None and new is not None:
                    self._freeze(step, position, old, new.contents)

    def _freeze(self, step: Step, position: int, old: Value, now: Contents | None) -> None:
        """A size that is computed with, such as the root of the head dimension, stays what it was."""
        held = old.contents
        if held is None or (now is not None and held.shape == now.shape and (held == now).all()):
            return
        sizes = list(held.flat)
        if all(isinstance(size, float) or size.known for size in sizes):
            values = [size if isinstance(size, float) else size.factor for size in sizes]
            name = self.groups.model.unique_name(f"{step.node.output[0]}.size{position}")
            step.scope.graph.initializer.append(helper.make_tensor(name, old.kind, held.shape, values))
            step.node.input[position] = name
        elif held.ndim == 1:
            self.put(step, position, f"size{position}", [_known(size) for size in sizes])

    def put(self, step: Step, position: int, name: str, wanted: Wanted) -> None:
        """Makes an attribute, or else an integer input, say what is wanted."""
        node = step.node
        if name in step.attributes:
            attribute = next(a for a in node.attribute if a.name == name)
            attribute.ints[:] = [old if new is None else new for old, new in zip(attribute.ints, wanted, strict=True)]
            return
        model, graph = self.groups.model, step.scope.graph
        while len(node.input) <= position:
            node.input.append("")
        stem = f"{node.output[0]}.{name}"
        constant = _integers(graph, model.unique_name(stem), [0 if w is None else w for w in wanted])
        if not node.input[position] or _is_constant(step, position):
            node.input[position] = constant
            return
        # What was computed stays computed: shapes that onnx could not infer before might contradict declared ones.
        mask = _integers(graph, model.unique_name(f"{stem}.fixed"), [int(w is not None) for w in wanted], True)
        mixed = model.unique_name(f"{stem}.mixed")
        where = helper.make_node("Where", [mask, constant, node.input[position]], [mixed], name=mixed)
        node.input[position] = mixed
        self._added.append((graph, where, node))

    def _declarations(self) -> None:
        """Shapes that graphs declare for values inside."""
        for scope in self.groups.trace.scopes:
            inner = (*scope.graph.input, *scope.graph.output) if scope.parent is not None else ()
            for info in (*scope.graph.value_info, *inner):
                value = self.trace.names.get((scope.index, info.name))
                if value is not None and value.axes is not None:
                    _redeclare(info.type, [(axis.size, self._axis(axis).size) for axis in value.axes])


def _is_constant(step: Step, position: int) -> bool:
    value = step.inputs[position]
    return value is not None and value.tensor is not None


def _redeclare(kind: TypeProto, sizes: list[tuple[Size, Size]]) -> None:
    shape = kind.tensor_type.shape
    if not kind.tensor_type.HasField("shape") or all(old == new for old, new in sizes):
        return
    if len(shape.dim) != len(sizes):
        kind.tensor_type.ClearField("shape")
        return
    for dim, (old, new) in zip(shape.dim, sizes, strict=True):
        if old != new:
            dim.Clear()
            dim.dim_value = new.factor


def _integers(graph: GraphProto, name: str, values: list[int], boolean: bool = False) -> str:
    kind = TensorProto.BOOL if boolean else TensorProto.INT64
    graph.initializer.append(helper.make_tensor(name, kind, [len(values)], values))
    return name


def _op(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> Op:
    """The node as rules see it."""
    return Op(repair.trace, step.scope, step.node, step.number, 0, tuple(inputs), [], step.attributes)


def _outputs(repair: Repair, step: Step) -> list[Axis] | None:
    value = repair.shrunk(step.outputs[0])
    return None if value is None or value.axes is None else list(value.axes)


def _reshape(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    data, axes = inputs[0], _outputs(repair, step)
    if data is None or data.axes is None or axes is None or not _touched(step):
        return
    sizes = [axis.size for axis in axes]
    if target_sizes(_op(repair, step, inputs), data) == sizes:
        return
    wanted: list[int | None] = [size.factor if size.known else None for size in sizes]
    if _is_constant(step, 1) or "shape" in step.attributes:
        assert wanted.count(None) <= 1 or not step.attributes.get("allowzero")
        for place, size in enumerate(sizes):
            if wanted[place] is None and place < len(data.axes) and data.axes[place].size == size:
                wanted[place] = 0
        wanted = [-1 if size is None else size for size in wanted]
    repair.put(step, 1, "shape", wanted)


def _touched(step: Step) -> bool:
    """Whether the node sees channels at all."""
    return any(a.labels is not None for v in step.outputs for a in v.axes or ())


def _expand(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    data, shape, axes = inputs[0], inputs[1], _outputs(repair, step)
    if data is None or data.axes is None or shape is None or shape.contents is None or axes is None:
        return
    wanted = list[int | None](map(_known, shape.contents))
    for place in range(-len(wanted), 0):
        own = data.axes[place].size if len(data.axes) >= -place else Size(1)
        asked, size = shape.contents[place], axes[place].size
        if axes[place].labels is not None and asked != size and (asked, own) != (Size(1), size):
            wanted[place] = size.factor
    if wanted != list(map(_known, shape.contents)):
        repair.put(step, 1, "shape", wanted)


def _constant_of_shape(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    shape, axes = inputs[0], _outputs(repair, step)
    if shape is None or shape.contents is None or axes is None or not _touched(step):
        return
    if [axis.size for axis in axes] != list(shape.contents):
        repair.put(step, 0, "shape", [_known(axis.size) for axis in axes])


def _known(size: Size) -> int | None:
    return size.factor if size.known else None


def _slice(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    before = step.inputs[0]
    if before is None or before.axes is None or not _touched(step):
        return
    axes, ranges = slice_ranges(_op(repair, step, step.inputs), before)
    after = slice_ranges(_op(repair, step, inputs), inputs[0])[1] if inputs[0] is not None else []
    starts: list[int | None] = []
    ends: list[int | None] = []
    wrong = False
    for place, axis in enumerate(axes or ()):
        labels, chosen = before.axes[axis].labels, ranges[place]
        if labels is None or chosen is None or abs(chosen.step) != 1:  # with larger steps, all positions stay
            starts.append(_element(_op(repair, step, inputs), "starts", 1, place))
            ends.append(_element(_op(repair, step, inputs), "ends", 2, place))
            continue
        new = _kept_range(repair.keep(labels), chosen)
        wrong = wrong or after[place] != new
        starts.append(new.start)
        ends.append(new.stop if new.stop >= 0 else -(1 << 62))
    if wrong:
        repair.put(step, 1, "starts", starts)
        repair.put(step, 2, "ends", ends)


def _element(op: Op, name: str, position: int, place: int) -> int | None:
    if name in op.attributes:
        return int(op.attributes[name][place])
    value = op.given(position)
    return None if value is None or value.contents is None else _known(value.contents[place])


def _kept_range(keep: npt.NDArray[np.bool_], chosen: range) -> range:
    """The same channels, counted among those that are kept."""
    count = int(keep[list(chosen)].sum())
    if chosen.step > 0:
        start = int(keep[: chosen.start].sum())
        return range(start, start + count)
    start = int(keep[: chosen.start + 1].sum()) - 1
    return range(start, start - count, -1)


def _split(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    data = step.inputs[0]
    if data is None or data.axes is None or not _touched(step):
        return
    along = step.attributes.get("axis", 0) % len(data.axes)
    if data.axes[along].labels is None:
        return
    pieces = [repair.shrunk(value) for value in step.outputs]
    sizes = [piece.axes[along].size.factor for piece in pieces if piece is not None and piece.axes is not None]
    old = [value.axes[along].size.factor for value in step.outputs if value.axes is not None]
    if len(sizes) != len(step.outputs) or sizes == old:
        return
    for place in range(len(step.node.attribute) - 1, -1, -1):
        if step.node.attribute[place].name == "num_outputs":
            del step.node.attribute[place]
    if repair.groups.model.opset < 13 and "split" not in step.attributes:
        step.node.attribute.append(helper.make_attribute("split", sizes))
    else:
        repair.put(step, 1, "split", sizes)


def _gather(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    data, indices = step.inputs[0], step.inputs[1]
    if data is None or data.axes is None or indices is None or indices.contents is None:
        return
    labels = data.axes[step.attributes.get("axis", 0) % len(data.axes)].labels
    if labels is None or indices.contents.ndim != 1:
        return
    keep = repair.keep(labels)
    if keep.all():
        return
    chosen = [size.factor % len(keep) for size in indices.contents]
    place = np.cumsum(keep) - 1
    wanted = [int(place[i]) for i in chosen if keep[i]]
    now = inputs[1]
    if now is None or now.contents is None or [size.factor for size in now.contents] != wanted:
        repair.put(step, 1, "indices", wanted)


def _resize(repair: Repair, step: Step, inputs: Sequence[Value | None]) -> None:
    data = inputs[0]
    given = inputs[3] if len(inputs) > 3 else None
    if data is None or data.axes is None or given is None or given.contents is None:
        return
    if "axes" in step.attributes or len(given.contents) != len(data.axes):
        return
    size = data.axes[1].size
    if data.axes[1].labels is not None and given.contents[1] != size:
        known = [_known(content) for content in given.contents]
        repair.put(step, 3, "sizes", [known[0], size.factor, *known[2:]])


REPAIRS: dict[str, tuple[Callable[[Repair, Step, Sequence[Value | None]], None], tuple[int, ...]]] = {
    "Reshape": (_reshape, (1,)),
    "Expand": (_expand, (1,)),
    "ConstantOfShape": (_constant_of_shape, (0,)),
    "Slice": (_slice, (1, 2, 3, 4)),
    "Split": (_split, (1,)),
    "Gather": (_gather, (1,)),
    "Resize": (_resize, (3,)),
}
"""How to repair an operator, and which of its inputs are sizes that the repair looks after."""
