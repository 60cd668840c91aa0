"""Making up for channels that go: the nodes that read them learn to do without (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper

from onnxsqueeze.groups import Groups
from onnxsqueeze.groups.remove import Gone
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Edges, Scope, domain, edges
from onnxsqueeze.model.roles import attribute
from onnxsqueeze.model.tensors import FLOATS
from onnxsqueeze.passes.channel_activations import Moments, Reading

Array = npt.NDArray[Any]
RIDGE = 1e-4  # least share of the identity in a covariance


@dataclass(frozen=True, eq=False)
class Shift:
    """What a reader's output has to be moved by, for each channel that it keeps."""

    scope: Scope
    node: NodeProto
    amount: Array
    ndim: int  # of the output
    kind: int  # element type


def compensate(
    groups: Groups, gone: Gone, readings: Sequence[Reading], moments: Mapping[str, Moments], matrix: bool
) -> list[Shift]:
    """Changes the weights that read channels which are about to go, and says how outputs have to be moved.

    What goes is predicted from what stays, by least squares over the calibration inputs (``matrix``) or by its mean,
    and the prediction is folded into the weights of what stays.
    """
    shifts = []
    for reading in readings:
        step, member = reading.step, reading.member
        axes = next(v.axes for v, name in zip(step.inputs, step.node.input, strict=True) if name == reading.value and v)
        labels, output = axes[reading.axis].labels if axes else None, step.outputs[0].axes
        keep = np.ones(0, bool) if labels is None else gone.keep(labels)
        if output is None or keep.all():
            continue
        found = moments[reading.value]
        slope, rest = _prediction(found, keep, matrix)
        tensor = groups.trace.constants[member.scope, member.tensor]
        values = np.moveaxis(groups.model.read(tensor).astype(np.float64), member.axis, 0)
        lost = values[~keep]
        changed = values.copy()
        changed[keep] += np.tensordot(slope, lost, axes=(0, 0))
        groups.model.write(tensor, np.moveaxis(changed, 0, member.axis).astype(FLOATS[tensor.data_type]))
        channel = 1 if step.node.op_type.startswith("Conv") else len(output) - 1
        amount = _outputs(step.node, np.tensordot(rest, lost, axes=(0, 0)))
        made = output[channel].labels
        if made is not None:
            amount = amount[gone.keep(made)]
        shifts.append(Shift(step.scope, step.node, amount, len(output), tensor.data_type))
    return shifts


def _outputs(node: NodeProto, amount: Array) -> Array:
    """A sum over kernel positions: [output channels]. Borders, where some are padding, count as inside."""
    return amount.reshape(len(amount), -1).sum(axis=1) if node.op_type.startswith("Conv") else amount.reshape(-1)


def _prediction(found: Moments, keep: npt.NDArray[np.bool_], matrix: bool) -> tuple[Array, Array]:
    """Channels that go ≈ slope · channels that stay + rest: [gone, kept] and [gone]."""
    mean = found.mean
    slope = np.zeros((int((~keep).sum()), int(keep.sum())))
    if matrix and found.products is not None:
        covariance = _shrunk(found.products / found.count - np.outer(mean, mean), found.count)
        slope = np.linalg.solve(covariance[np.ix_(keep, keep)], covariance[np.ix_(keep, ~keep)]).T
    return slope, mean[~keep] - slope @ mean[keep]


def _shrunk(covariance: Array, count: int) -> Array:
    """The covariance drawn towards a multiple of the identity, the more the fewer samples there are.

    Oracle approximating shrinkage (Chen et al. 2010), and never singular.
    """
    size, trace = len(covariance), float(np.trace(covariance))
    squares = float(np.square(covariance).sum())
    between = (count + 1 - 2 / size) * (squares - trace**2 / size)
    share = min(1.0, ((1 - 2 / size) * squares + trace**2) / between) if between > 0 else 1.0
    share = max(share, RIDGE)
    shrunk: Array = (1 - share) * covariance
    shrunk[np.diag_indices(size)] += max(share * trace / size, 1e-12)
    return shrunk


def move(model: Model, shifts: Sequence[Shift]) -> None:
    """Adds to the outputs of nodes, in their biases where they have their own."""
    wiring = edges(model.proto)
    for shift in shifts:
        if not _into_bias(model, wiring, shift):
            _add_node(model, shift)
    model.refresh()


def _into_bias(model: Model, wiring: Edges, shift: Shift) -> bool:
    node, width = shift.node, len(shift.amount)
    place = 2
    if node.op_type == "MatMul":
        users = wiring.users.get((shift.scope.index, node.output[0]), [])
        if len(users) != 1 or users[0].node.op_type != "Add" or domain(users[0].node) != "":
            return False
        place, node = 1 - users[0].input, users[0].node
    if place >= len(node.input) or not node.input[place]:
        if node.op_type == "Add":
            return False
        node.input.extend([""] * (place + 1 - len(node.input)))
        node.input[place] = _constant(model, shift.scope.graph, f"{node.output[0]}.bias", shift.amount, shift.kind)
        return True
    key = wiring.key(shift.scope, node.input[place])
    tensor = wiring.constants.get(key) if key is not None else None
    if key is None or tensor is None or int(np.prod(tensor.dims)) != width or tensor.dims[-1:] != [width]:
        return False
    beta = attribute(node, "beta", 1.0)
    assert isinstance(beta, float)
    values = model.read(tensor).astype(np.float64) + (shift.amount / (beta or 1)).reshape(tuple(tensor.dims))
    if len(wiring.users[key]) == 1 and key not in wiring.results:
        model.write(tensor, values.astype(FLOATS[tensor.data_type]))
    else:
        node.input[place] = _constant(model, shift.scope.graph, f"{node.output[0]}.bias", values, tensor.data_type)
    return True


def _add_node(model: Model, shift: Shift) -> None:
    node, graph = shift.node, shift.scope.graph
    output = node.output[0]
    inner = model.unique_name(f"{output}.unmoved")
    spread = shift.amount.reshape(-1, *[1] * (shift.ndim - 2)) if node.op_type.startswith("Conv") else shift.amount
    name = _constant(model, graph, f"{output}.moved", spread, shift.kind)
    place = next(i for i, other in enumerate(graph.node) if output in other.output)
    node.output[0] = inner
    graph.node.insert(place + 1, helper.make_node("Add", [inner, name], [output], name=f"{name}.add"))


def _constant(model: Model, graph: GraphProto, wanted: str, values: Array, kind: int) -> str:
    name = model.unique_name(wanted)
    tensor: TensorProto = graph.initializer.add(name=name, data_type=kind, dims=values.shape)
    model.write(tensor, np.asarray(values, FLOATS[kind]))
    return name
