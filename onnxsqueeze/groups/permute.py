"""Other orders of channels: the graph computes the same, its weights are arranged differently (Pool & Yu 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from onnxsqueeze.errors import ModelError
from onnxsqueeze.groups.channels import NONE, Labels
from onnxsqueeze.groups.group import Group, Groups, Places
from onnxsqueeze.groups.select import Order, selected, take
from onnxsqueeze.groups.value import Slot


def permutable(groups: Groups) -> list[Group]:
    """The groups whose units may change places.

    They may where every axis on the way holds all units of the group, each as often as the others, or none of them.
    Units of several positions that are picked by number (Gather) may not: their positions could be mixed up.
    """
    fixed: set[int] = set()
    several: set[int] = set()
    picked: set[int] = set()
    of_unit = np.full(groups.solution.units + 1, NONE, np.int64)
    for group in groups:
        of_unit[group.units] = group.id
    seen: set[int] = set()
    for step in groups.trace.steps:
        for value in (*step.inputs, *step.outputs):
            for axis in (value.axes or ()) if value is not None else ():
                if axis.labels is None or (id(axis.labels) in seen and step.node.op_type != "Gather"):
                    continue
                seen.add(id(axis.labels))
                for number, most, least in _counts(groups, axis.labels, of_unit):
                    fixed |= {number} if most != least else set()
                    several |= {number} if most > 1 else set()
                    picked |= {number} if step.node.op_type == "Gather" else set()
    fixed |= several & picked
    return [group for group in groups.removable if group.id not in fixed]


def _counts(groups: Groups, labels: Labels, of_unit: Places) -> Iterator[tuple[int, int, int]]:
    """For each group in an axis how often its units lie there: at most, and at least."""
    units = groups.solution.terms[labels[labels != NONE]]
    units, counts = np.unique(units[units != NONE], return_counts=True)
    for number in np.unique(of_unit[units]):
        if number != NONE:
            own = counts[of_unit[units] == number]
            whole = len(own) == groups[number].width
            yield int(number), int(own.max()), int(own.min()) if whole else 0


def permute(groups: Groups, orders: Mapping[int, Order]) -> int:
    """Puts units in another order; returns how many groups changed.

    Args:
        groups: what ``analyse`` found in the model as it is now; stale when this returns.
        orders: for each group (by id) a permutation: place i takes what unit ``order[i]`` was.

    Raises:
        ModelError: the units of a group may not change places; the model is untouched then.
    """
    allowed = {group.id for group in permutable(groups)}
    orders = {number: order for number, order in orders.items() if (order != np.arange(len(order))).any()}
    for number, order in orders.items():
        if number not in allowed or sorted(order.tolist()) != list(range(groups[number].width)):
            raise ModelError(f"the channels of group {number} cannot be put in this order")
    moves: dict[Slot, list[tuple[Places, Places]]] = {}
    for number, order in orders.items():
        members = {Slot(m.scope, m.tensor, m.axis, m.use): m for m in groups[number].members}
        for slot, member in members.items():
            moves.setdefault(slot, []).append((member.positions, member.positions[order]))

    def positions(slot: Slot, labels: Labels) -> Order:
        order = np.arange(len(labels))
        for to, source in moves.get(slot, ()):
            step = np.arange(len(labels))
            step[to] = source
            order = order[step]
        return order

    take(groups, selected(groups, positions))
    groups.model.refresh()
    return len(orders)
