"""Removal of channels: slices every member of the groups, then repairs what depends on sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from onnxsqueeze.errors import ModelError
from onnxsqueeze.groups.channels import Labels
from onnxsqueeze.groups.group import Groups
from onnxsqueeze.groups.repair import Repair
from onnxsqueeze.groups.value import Slot
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import domain, remove_dead
from onnxsqueeze.model.weights import find

Mask = npt.NDArray[np.bool_]
Place = tuple[int, str]  # scope and name of a constant


def remove(groups: Groups, kept: Mapping[int, Sequence[int] | npt.NDArray[Any]]) -> int:
    """Removes channels from the model that was analysed; returns how many units went.

    Args:
        groups: what ``analyse`` found in the model as it is now; stale, like all of its parts, when this returns.
        kept: for each group (by id) the units that stay, numbers below its width; groups left out stay whole.

    Raises:
        ModelError: a group is blocked, or would keep nothing; the model is untouched then.
    """
    removed = _removed_units(groups, kept)
    if not removed.any():
        return 0
    gone = Gone(groups, removed)
    for step in groups.trace.steps:
        for value in step.outputs:
            for axis in value.axes or ():
                if axis.labels is not None and len(axis.labels) and not gone.keep(axis.labels).any():
                    raise ModelError(f"nothing would be left of an axis of '{step.node.output[0]}'")
    slices = _slices(groups, gone)
    Repair(groups, gone.keep).run()
    _apply(groups, slices)
    remove_dead(groups.model.proto.graph)
    groups.model.refresh()
    return int(removed.sum())


def _removed_units(groups: Groups, kept: Mapping[int, Sequence[int] | npt.NDArray[Any]]) -> Mask:
    removed = np.zeros(groups.solution.units, bool)
    for number, units in kept.items():
        group = groups[number]
        stays = np.zeros(group.width, bool)
        stays[np.asarray(units, np.int64)] = True
        if stays.all():
            continue
        if group.blocked is not None:
            raise ModelError(f"group {number} cannot lose channels: {group.blocked}")
        if not stays.any():
            raise ModelError(f"group {number} must keep at least one of its {group.width} channels")
        removed[group.units[~stays]] = True
    return removed


class Gone:
    """Which atoms are removed."""

    def __init__(self, groups: Groups, removed: Mask) -> None:
        terms = groups.solution.terms
        gone: Mask = np.append(removed, False)[terms].any(axis=1).reshape(-1)
        self._gone = np.append(gone, False)

    def keep(self, labels: Labels) -> Mask:
        """Mask (True = keep) of the positions of an axis."""
        gone: Mask = self._gone[labels].any(axis=1).reshape(-1)
        return ~gone


def _slices(groups: Groups, gone: Gone) -> dict[Place, dict[tuple[int, int] | None, dict[int, Mask]]]:
    """For each constant that changes, for each of its uses, the masks of its axes."""
    counts = dict(groups.trace.channels.vectors)
    found: dict[Place, dict[tuple[int, int] | None, dict[int, Mask]]] = {}
    for first, slot in groups.trace.slots.items():
        if slot.use is not None and _is_alias(groups, slot):
            continue
        labels = np.arange(first, first + counts[first])[:, None]
        found.setdefault((slot.scope, slot.name), {}).setdefault(slot.use, {})[slot.axis] = gone.keep(labels)
    return {
        place: uses
        for place, uses in found.items()
        if not all(mask.all() for masks in uses.values() for mask in masks.values())
    }


def _is_alias(groups: Groups, slot: Slot) -> bool:
    assert slot.use is not None
    node = groups.trace.steps[slot.use[0]].node
    return node.op_type == "Identity" and domain(node) == ""


def _apply(groups: Groups, slices: dict[Place, dict[tuple[int, int] | None, dict[int, Mask]]]) -> None:
    """Slices constants in place, or copies of them where uses differ."""
    constants = groups.trace.constants
    names = {(item.scope.index, item.local): name for name, item in find(groups.model.proto).items()}
    for place, uses in slices.items():
        tensor = constants[place]
        masks = list(uses.values())
        groups.model.notes.pop(names.get(place, ""), None)
        if all(_same(masks[0], other) for other in masks):
            _slice(groups.model, tensor, masks[0])
            continue
        for use, mask in uses.items():
            if use is not None and not all(m.all() for m in mask.values()):
                _clone(groups, place, tensor, use, mask)


def _same(one: dict[int, Mask], other: dict[int, Mask]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(mask, other[axis]) for axis, mask in one.items())


def sliced(values: npt.NDArray[Any], masks: dict[int, Mask]) -> npt.NDArray[Any]:
    """The kept positions of some axes."""
    for axis, mask in masks.items():
        if not mask.all():
            values = np.compress(mask, values, axis=axis)
    return values


def _slice(model: Model, tensor: TensorProto, masks: dict[int, Mask]) -> None:
    values = sliced(model.read(tensor), masks)
    del tensor.dims[:]
    tensor.dims.extend(values.shape)
    model.write(tensor, values)


def _clone(groups: Groups, place: Place, tensor: TensorProto, use: tuple[int, int], masks: dict[int, Mask]) -> None:
    """A sliced copy for one use."""
    model = groups.model
    values = sliced(model.read(tensor), masks)
    step = groups.trace.steps[use[0]]
    name = model.unique_name(f"{place[1]}.{use[0]}")
    copy = step.scope.graph.initializer.add(name=name, data_type=tensor.data_type, dims=values.shape)
    model.write(copy, values)
    node: NodeProto = step.node
    node.input[use[1]] = name
