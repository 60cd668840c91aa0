"""Rewrites constants to some of their positions, in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from onnxsqueeze.groups.channels import Labels
from onnxsqueeze.groups.group import Groups
from onnxsqueeze.groups.value import Slot
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import domain
from onnxsqueeze.model.weights import find

Order = npt.NDArray[np.int64]  # positions along an axis
Place = tuple[int, str]  # scope and name of a constant
Use = tuple[int, int] | None  # step and input; None: all uses
Selection = dict[Place, dict[Use, dict[int, Order]]]  # for each use of a constant, the positions along its axes


def selected(groups: Groups, positions: Callable[[Slot, Labels], Order]) -> Selection:
    """What is to be taken of each constant that changes."""
    counts = dict(groups.trace.channels.vectors)
    found: Selection = {}
    for first, slot in groups.trace.slots.items():
        if slot.use is None or not _is_alias(groups, slot.use):
            labels = np.arange(first, first + counts[first])[:, None]
            found.setdefault((slot.scope, slot.name), {}).setdefault(slot.use, {})[slot.axis] = positions(slot, labels)
    constants = groups.trace.constants
    return {
        place: uses
        for place, uses in found.items()
        if not all(_is_all(order, constants[place].dims[a]) for axes in uses.values() for a, order in axes.items())
    }


def _is_alias(groups: Groups, use: tuple[int, int]) -> bool:
    """An Identity passes constants on; those behind it are the users."""
    node = groups.trace.steps[use[0]].node
    return node.op_type == "Identity" and domain(node) == ""


def _is_all(order: Order, size: int) -> bool:
    return len(order) == size and bool((order == np.arange(size)).all())


def take(groups: Groups, selection: Selection) -> None:
    """Changes constants in place, or copies of them where their uses differ."""
    names = {(item.scope.index, item.local): name for name, item in find(groups.model.proto).items()}
    for place, uses in selection.items():
        tensor = groups.trace.constants[place]
        axes = list(uses.values())
        groups.model.notes.pop(names.get(place, ""), None)
        if all(_same(axes[0], other) for other in axes):
            values = taken(groups.model.read(tensor), axes[0])
            del tensor.dims[:]
            tensor.dims.extend(values.shape)
            groups.model.write(tensor, values)
            continue
        for use, own in uses.items():
            if use is not None and not all(_is_all(order, tensor.dims[a]) for a, order in own.items()):
                _clone(groups, place, tensor, use, own)
    _undeclare(groups, selection)


def _undeclare(groups: Groups, changed: Selection) -> None:
    """Drops shapes that graphs declare for constants."""
    for scope in groups.trace.scopes:
        infos = scope.graph.value_info
        for position in range(len(infos) - 1, -1, -1):
            key = (scope.index, infos[position].name)
            if groups.trace.aliases.get(key, key) in changed:
                del infos[position]


def _same(one: dict[int, Order], other: dict[int, Order]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(order, other[axis]) for axis, order in one.items())


def taken(values: npt.NDArray[Any], axes: dict[int, Order]) -> npt.NDArray[Any]:
    """Some positions along some axes."""
    for axis, order in axes.items():
        if not _is_all(order, values.shape[axis]):
            values = np.take(values, order, axis=axis)
    return values


def _clone(groups: Groups, place: Place, tensor: TensorProto, use: tuple[int, int], axes: dict[int, Order]) -> None:
    """A copy for one use."""
    model: Model = groups.model
    values = taken(model.read(tensor), axes)
    step = groups.trace.steps[use[0]]
    name = model.unique_name(f"{place[1]}.{use[0]}")
    copy = step.scope.graph.initializer.add(name=name, data_type=tensor.data_type, dims=values.shape)
    model.write(copy, values)
    node: NodeProto = step.node
    node.input[use[1]] = name
