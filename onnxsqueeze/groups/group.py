"""Dependency groups: channels of several tensors that can only go together (Fang et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups.channels import NONE, Cause, Labels, Solution
from onnxsqueeze.groups.value import Slot, Trace
from onnxsqueeze.groups.walk import walk
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import label

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Member:
    """One axis of one constant tensor, as part of a group.

    ``role``: "producer" (the axis is its output channels), "consumer" (it is summed over), or "parameter" (one value a
    channel: bias, normalisation, depthwise kernel). ``positions`` [width, m]: where along the axis each unit lies.
    """

    scope: int  # index of the graph that defines the tensor, 0 for the main graph
    tensor: str
    axis: int
    role: str
    positions: Places
    nodes: tuple[str, ...]  # that use it so
    use: tuple[int, int] | None  # step and input, where only this use of the tensor is meant


@dataclass(frozen=True, eq=False)
class Group:
    """Units that are alike: each can be removed alone, with its positions in all members."""

    id: int
    width: int  # number of units
    members: tuple[Member, ...]
    nodes: tuple[str, ...]  # through which the channels flow, in graph order
    blocked: Cause | None  # why none may be removed
    is_output: bool  # the channels are those of a graph output
    units: Places = field(repr=False)  # numbers of the units in the analysis
    steps: tuple[int, ...] = field(repr=False)  # numbers of the nodes in the analysis
    reductions: tuple[str, ...]  # nodes that sum over the channels without weights: means, norms, products of two values

    def of(self, role: str) -> tuple[Member, ...]:
        """The members in one role."""
        return tuple(member for member in self.members if member.role == role)

    @property
    def removable(self) -> bool:
        """Whether some units can go: not blocked, and one must stay."""
        return self.blocked is None and self.width > 1


@dataclass(frozen=True, eq=False)
class Groups:
    """All dependency groups of a model, as it was when they were analysed."""

    model: Model
    trace: Trace = field(repr=False)
    solution: Solution = field(repr=False)
    all: tuple[Group, ...]

    def __iter__(self) -> Iterator[Group]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, number: int) -> Group:
        return self.all[number]

    @property
    def removable(self) -> tuple[Group, ...]:
        """Groups of which units can be removed."""
        return tuple(group for group in self.all if group.removable)


def analyse(model: Model) -> Groups:
    """Finds the dependency groups of a model. Changes nothing.

    Channels are followed as labels through every operator, and what must go together is the connected components of
    all equalities between them (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, does so between layers).
    """
    trace = walk(model)
    solution = trace.channels.solve()
    return Groups(model, trace, solution, tuple(_groups(trace, solution)))


def _groups(trace: Trace, solution: Solution) -> Iterator[Group]:
    of_unit, count = _signatures(trace, solution)
    slots = _slots(trace, solution, of_unit)
    flows = _flows(trace, solution, of_unit)
    outputs = _touched(trace.outputs, solution)
    reduced: dict[int, list[int]] = {}
    for number, labels in trace.reductions:
        for key in np.unique(of_unit[_units(labels, solution)]):
            reduced.setdefault(int(key), []).append(number)
    order = np.argsort(of_unit, kind="stable")
    starts = np.searchsorted(of_unit[order], np.arange(count + 1))
    names = [label(step.node) for step in trace.steps]
    keys = [key for key in slots if any(role != "parameter" for _, role, _ in slots[key])]
    number = 0
    for key in sorted(keys, key=lambda key: min(slots[key], key=lambda s: s[0])[0]):
        units = order[starts[key] : starts[key + 1]]
        members = [_member(trace, solution, slot, role, steps, units) for slot, role, steps in slots[key]]
        rank = np.argsort(_rank(members), kind="stable")
        members = [_reordered(member, rank) for member in members]
        cause = solution.cause[units[0]]
        blocked = None if cause == NONE else trace.channels.causes[cause]
        steps = tuple(flows.get(key, ()))
        through = tuple(dict.fromkeys(names[step] for step in steps))
        sums = tuple(dict.fromkeys(names[step] for step in reduced.get(key, ())))
        yield Group(
            number, len(units), tuple(members), through, blocked, bool(outputs[units[0]]), units[rank], steps, sums
        )
        number += 1


def _rank(members: list[Member]) -> Places:
    first = next((m for m in members if m.role == "producer"), members[0])
    found: Places = first.positions[:, 0]
    return found


def _reordered(member: Member, rank: Places) -> Member:
    positions = member.positions[rank]
    return Member(member.scope, member.tensor, member.axis, member.role, positions, member.nodes, member.use)


def _vector_of(trace: Trace) -> Labels:
    """For each atom the number of the run that it was made in."""
    counts = np.array([count for _, count in trace.channels.vectors], np.int64)
    return np.repeat(np.arange(len(counts)), counts)


def _signatures(trace: Trace, solution: Solution) -> tuple[Labels, int]:
    """For each unit a number that units of the same group share: those that occur alike in the same runs of atoms."""
    vector = _vector_of(trace)
    hashes = np.random.default_rng(0).integers(0, 2**63, len(trace.channels.vectors), dtype=np.uint64)
    totals = np.zeros(solution.units, np.uint64)
    for column in solution.terms.T:
        there = column != NONE
        np.add.at(totals, column[there], hashes[vector[there]])
    outputs = _touched(trace.outputs, solution)
    keys = np.stack([totals.astype(np.int64), solution.cause, outputs.astype(np.int64)], axis=1)
    _, of_unit = np.unique(keys, axis=0, return_inverse=True)
    return of_unit.reshape(-1), int(of_unit.max(initial=-1)) + 1


def _touched(labels: list[Labels], solution: Solution) -> npt.NDArray[np.bool_]:
    found = np.zeros(solution.units, bool)
    for item in labels:
        found[_units(item, solution)] = True
    return found


def _units(labels: Labels, solution: Solution) -> Places:
    atoms = labels[labels != NONE]
    units = np.unique(solution.terms[atoms])
    result: Places = units[units != NONE]
    return result


Named = tuple[int, str, tuple[int, ...]]  # first atom of a slot, role, steps


def _slots(trace: Trace, solution: Solution, of_unit: Labels) -> dict[int, list[Named]]:
    """For each group the axes of constants that belong to it."""
    marks: dict[int, dict[str, set[int]]] = {}
    starts = np.array([start for start, _ in trace.channels.vectors], np.int64)
    for labels, role, step in trace.marks:
        for vector in np.unique(np.searchsorted(starts, labels[labels != NONE], side="right") - 1):
            marks.setdefault(int(starts[vector]), {}).setdefault(role, set()).add(step)
    counts = dict(trace.channels.vectors)
    found: dict[int, list[Named]] = {}
    for first in trace.slots:
        terms = solution.terms[first : first + counts[first]]
        roles = marks.get(first, {"parameter": set()})
        for key in np.unique(of_unit[terms[terms != NONE]]):
            for role, steps in roles.items():
                found.setdefault(int(key), []).append((first, role, tuple(sorted(steps))))
    return found


def _member(
    trace: Trace, solution: Solution, first: int, role: str, steps: tuple[int, ...], units: Places
) -> Member:
    slot: Slot = trace.slots[first]
    count = dict_count(trace, first)
    terms = solution.terms[first : first + count]
    place = np.full(solution.units + 1, NONE, np.int64)
    place[units] = np.arange(len(units))
    inside = place[np.where(terms == NONE, solution.units, terms)]
    position, column = np.nonzero(inside != NONE)
    order = np.argsort(inside[position, column], kind="stable")
    positions = position[order].reshape(len(units), -1)
    nodes = tuple(dict.fromkeys(label(trace.steps[step].node) for step in steps))
    return Member(slot.scope, slot.name, slot.axis, role, positions, nodes, slot.use)


def dict_count(trace: Trace, first: int) -> int:
    """Length of the run of atoms that begins at ``first``."""
    starts = [start for start, _ in trace.channels.vectors]
    import bisect

    return trace.channels.vectors[bisect.bisect_left(starts, first)][1]


def _flows(trace: Trace, solution: Solution, of_unit: Labels) -> dict[int, list[int]]:
    """For each group the steps that its channels flow through."""
    found: dict[int, list[int]] = {}
    for step in trace.steps:
        keys: set[int] = set()
        for value in (*step.inputs, *step.outputs):
            for axis in (value.axes or ()) if value is not None and not value.constant else ():
                if axis.labels is not None:
                    keys.update(np.unique(of_unit[_units(axis.labels, solution)]).tolist())
        for key in keys:
            found.setdefault(key, []).append(step.number)
    return found
