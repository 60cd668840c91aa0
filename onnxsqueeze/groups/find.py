"""From labels to groups: the units that are alike, and which constants they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onnxsqueeze.groups.channels import NONE, Labels, Solution
from onnxsqueeze.groups.group import Group, Groups, Member, Places
from onnxsqueeze.groups.value import Trace
from onnxsqueeze.groups.walk import walk
from onnxsqueeze.model import Model

TRIALS = 8  # If nodes whose branches differ in rank that are tried both ways


def analyse(model: Model) -> Groups:
    """Finds the dependency groups of a model. Changes nothing.

    Channels are followed as labels through every operator, and what must go together are the connected components of
    all equalities between them (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, does so for layers).
    """
    found = _analyse(model, {})
    for step in list(found.trace.choices)[:TRIALS]:
        other = _analyse(model, {**found.trace.choices, step: 1 - found.trace.choices[step]})
        if _free(other) > _free(found):
            found = other
    return found


def _analyse(model: Model, choices: dict[int, int]) -> Groups:
    trace = walk(model, choices, {})
    solution = trace.channels.solve()
    return Groups(model, trace, solution, tuple(_Finder(trace, solution).groups()))


def _free(groups: Groups) -> int:
    return sum(group.width for group in groups.removable)


class _Finder:
    """Sorts units into groups."""

    def __init__(self, trace: Trace, solution: Solution) -> None:
        self.trace, self.solution = trace, solution
        counts = np.array([count for _, count in trace.channels.vectors], np.int64)
        self._starts = np.array([first for first, _ in trace.channels.vectors], np.int64)
        self._counts = dict(trace.channels.vectors)
        self._vector = np.repeat(np.arange(len(counts)), counts)  # for each atom the run that it was made in
        self._is_output = np.zeros(solution.units, bool)
        for labels in trace.outputs:
            self._is_output[self._units(labels)] = True
        self._group_of = self._signatures()
        self._place = np.full(solution.units + 1, NONE, np.int64)  # of the units of the group at hand

    def groups(self) -> Iterator[Group]:
        """All groups in which something is produced or consumed, in graph order."""
        slots = self._slots()
        flows, reduced = self._flows(), self._reduced()
        order = np.argsort(self._group_of, kind="stable")
        starts = np.searchsorted(self._group_of[order], np.arange(len(slots) + 1))
        made = [key for key, found in slots.items() if any(role != "parameter" for _, role, _ in found)]
        for number, key in enumerate(sorted(made, key=lambda key: min(slots[key]))):
            units = order[starts[key] : starts[key + 1]]
            self._place[units] = np.arange(len(units))
            members = [self._member(slot, role, steps, units) for slot, role, steps in slots[key]]
            self._place[units] = NONE
            first = next((m for m in members if m.role == "producer"), members[0])
            rank = np.argsort(first.positions[:, 0], kind="stable")
            cause = self.solution.cause[units[0]]
            yield Group(
                number,
                len(units),
                tuple(replace(member, positions=member.positions[rank]) for member in members),
                None if cause == NONE else self.trace.channels.causes[cause],
                bool(self._is_output[units[0]]),
                units[rank],
                tuple(flows.get(key, ())),
                tuple(reduced.get(key, ())),
            )

    def _units(self, labels: Labels) -> Places:
        units = np.unique(self.solution.terms[labels[labels != NONE]])
        result: Places = units[units != NONE]
        return result

    def _signatures(self) -> Places:
        """For each unit the number of its group: units that occur alike in the same runs of atoms are alike."""
        solution = self.solution
        weights = np.random.default_rng(0).integers(0, 2**62, len(self._starts), dtype=np.int64)
        totals = np.zeros(solution.units, np.int64)
        for column in solution.terms.T:
            there = column != NONE
            np.add.at(totals, column[there], weights[self._vector[there]])
        keys = np.stack([totals, solution.cause, self._is_output.astype(np.int64)], axis=1)
        found: Places = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        return found

    def _roles(self) -> dict[int, dict[str, set[int]]]:
        """For each constant's axis, by its first atom: its roles, and the steps where it has them."""
        roles: dict[int, dict[str, set[int]]] = {}
        for labels, role, step in self.trace.marks:
            for vector in np.unique(self._vector[labels[labels != NONE]]):
                roles.setdefault(int(self._starts[vector]), {}).setdefault(role, set()).add(step)
        return roles

    def _slots(self) -> dict[int, list[tuple[int, str, tuple[int, ...]]]]:
        """For each group the axes of constants that belong to it: first atom, role, steps."""
        roles = self._roles()
        found: dict[int, list[tuple[int, str, tuple[int, ...]]]] = {
            int(key): [] for key in range(int(self._group_of.max(initial=-1)) + 1)
        }
        for first in self.trace.slots:
            units = self._units(np.arange(first, first + self._counts[first]))
            for key in np.unique(self._group_of[units]):
                for role, steps in roles.get(first, {"parameter": set()}).items():
                    found[int(key)].append((first, role, tuple(sorted(steps))))
        return found

    def _member(self, first: int, role: str, steps: tuple[int, ...], units: Places) -> Member:
        slot = self.trace.slots[first]
        terms = self.solution.terms[first : first + self._counts[first]]
        inside = self._place[np.where(terms == NONE, self.solution.units, terms)]
        position, column = np.nonzero(inside != NONE)
        order = np.argsort(inside[position, column], kind="stable")
        positions = position[order].reshape(len(units), -1)
        return Member(slot.scope, slot.name, slot.axis, role, positions, steps, slot.use)

    def _flows(self) -> dict[int, list[int]]:
        """For each group the steps that its channels flow through."""
        found: dict[int, list[int]] = {}
        known: dict[int, list[int]] = {}  # groups by identity of labels, which many values share
        for step in self.trace.steps:
            keys: set[int] = set()
            for value in (*step.inputs, *step.outputs):
                for axis in (value.axes or ()) if value is not None and not value.constant else ():
                    if axis.labels is not None:
                        if id(axis.labels) not in known:
                            known[id(axis.labels)] = np.unique(self._group_of[self._units(axis.labels)]).tolist()
                        keys.update(known[id(axis.labels)])
            for key in keys:
                found.setdefault(key, []).append(step.number)
        return found

    def _reduced(self) -> dict[int, list[int]]:
        """For each group the steps that sum over its channels without weights."""
        found: dict[int, list[int]] = {}
        for number, labels in self.trace.reductions:
            for key in np.unique(self._group_of[self._units(labels)]):
                found.setdefault(int(key), []).append(number)
        return found
