"""What makes the units of a dependency group, and what reads them: the two sides of a merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group, Groups, Member, permutable
from onnxsqueeze.groups.value import Step
from onnxsqueeze.model.graphs import domain
from onnxsqueeze.passes.merge_flow import is_homogeneous

Array = npt.NDArray[Any]

BIASES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvTranspose", "Gemm"), (2,)),
    **dict.fromkeys(("Add", "Sub", "Sum"), (0, 1)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (3, 5, 6, 7)),
}
"""Inputs that are added to the channels."""
LARGEST = 1e15  # larger weights are left alone
EPSILON = 1e-5  # of BatchNormalization, where it says nothing


@dataclass(frozen=True, eq=False)
class Norm:
    """Parameters of a BatchNormalization, each [width, positions of a unit]."""

    scale: Array
    shift: Array
    mean: Array
    variance: Array
    epsilon: float

    @property
    def factor(self) -> Array:
        """What it multiplies with."""
        return np.asarray(self.scale / np.sqrt(np.maximum(self.variance, 0) + self.epsilon))

    @property
    def offset(self) -> Array:
        """What it adds."""
        return np.asarray(self.shift - self.mean * self.factor)


@dataclass(frozen=True, eq=False)
class Sides:
    """A group's units as rows: they are the same where what makes them is.

    ``scaled`` [width, n]: weights and biases, which one factor may lie between; ``fixed`` [width, n]: what is
    multiplied with the channels later, and must be equal; it counts as much as the weights do. ``homogeneous``:
    whether a factor passes through all functions. ``readers`` [width, n]: the weights that read the units.
    """

    scaled: Array
    fixed: Array
    readers: Array
    homogeneous: bool

    @property
    def finite(self) -> bool:
        """Whether all values are numbers that can be squared."""
        return all(float(np.abs(side).max(initial=0)) < LARGEST for side in (self.scaled, self.fixed, self.readers))

    @property
    def energy(self) -> float:
        """Squares of what makes each unit times squares of what reads it, added up."""
        made, read = (np.einsum("ij,ij->i", side, side, dtype=np.float64) for side in (self.scaled, self.readers))
        return float(made @ read)


class Units:
    """Reads and changes the units of groups, as weights are at the time."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._uses: dict[int, set[tuple[int, int]]] = {}  # for each constant, by identity: steps and inputs
        self._readers: dict[int, list[int]] = {}  # for each value, by identity: steps
        for step in groups.trace.steps:
            for position, value in enumerate(step.inputs):
                if value is None:
                    continue
                if value.tensor is None:
                    self._readers.setdefault(id(value), []).append(step.number)
                elif not (step.node.op_type == "Identity" and domain(step.node) == ""):
                    self._uses.setdefault(id(value.tensor), set()).add((step.number, position))

    def mergeable(self) -> list[Group]:
        """Groups whose units may be merged: they may change places, and only weights that can be changed read them."""
        return [group for group in permutable(self.groups) if not group.reductions and self._changeable(group)]

    def _changeable(self, group: Group) -> bool:
        others = {(m.scope, m.tensor, m.axis) for m in group.members if m.role != "consumer"}
        consumers = group.of("consumer")
        return bool(consumers) and all(
            (m.scope, m.tensor, m.axis) not in others
            and {step for step, _ in self._used(m)} == set(m.steps)
            and not any(self._is_grouped_transposed(step) for step in m.steps)
            for m in consumers
        )

    def _is_grouped_transposed(self, number: int) -> bool:
        """Whether an axis of the weight is at once what is summed over, and what tells the groups' outputs apart."""
        step = self.groups.trace.steps[number]
        return step.node.op_type == "ConvTranspose" and step.attributes.get("group", 1) > 1

    def _used(self, member: Member) -> set[tuple[int, int]]:
        return self._uses.get(id(self.groups.trace.constants[member.scope, member.tensor]), set())

    def sides(self, group: Group) -> Sides:
        """The rows of all producers, with their biases and the BatchNormalization right behind them; the readers."""
        norms = self.norms(group)
        taken = {(number, place) for number in norms for place in range(1, 5)}
        scaled: list[Array] = []
        for member in group.of("producer"):
            rows = self.values(member)
            norm = norms.pop(self.norm_behind(member) or -1, None)
            bias = self._bias(group, member)
            own: Any = 0 if bias is None else self.values(bias)[..., 0]
            taken |= set() if bias is None or bias.use is None else {bias.use}
            scale, shift = (np.ones((1, 1)), np.zeros((1, 1))) if norm is None else (norm.factor, norm.offset)
            added = own * scale + shift  # of more positions than the rows, where groups share the rows
            shape = np.broadcast_shapes(added.shape, member.positions.shape)
            scaled += [rows * scale[..., None], np.broadcast_to(added, shape)]
        fixed = [norm.factor for norm in norms.values()]
        scaled += [norm.offset for norm in norms.values()]
        for member in group.of("parameter"):
            if member.use not in taken:
                (scaled if self._is_bias(member) else fixed).append(self.values(member))
        homogeneous = is_homogeneous(self.groups, group)
        return Sides(_rows(scaled), _levelled(_rows(scaled), fixed), self._read(group), homogeneous)

    def merge(self, group: Group, kept: npt.NDArray[np.int64], transfer: Any) -> None:
        """Changes all weights that read the group: units that stay take over; those that do not are read no more.

        ``transfer`` [kept, width]: what the new weights are made of.
        """
        for member in group.of("consumer"):
            matrix = self.values(member)
            new = np.zeros_like(matrix)
            flat = transfer @ matrix.reshape(group.width, -1)
            new[kept] = np.asarray(flat).reshape(len(kept), *matrix.shape[1:])
            self.groups.assign(member, new)

    def _read(self, group: Group) -> Array:
        return _rows([self.values(member) for member in group.of("consumer")])

    def values(self, member: Member) -> Array:
        """[width, positions, all other axes], in float32 or float64."""
        matrix = self.groups.matrix(member)
        return matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False)

    def _bias(self, group: Group, producer: Member) -> Member | None:
        """The bias of a producer's own node."""
        if len(producer.steps) != 1 or BIASES.get(self.groups.trace.steps[producer.steps[0]].node.op_type) != (2,):
            return None
        return next((m for m in group.of("parameter") if m.use == (producer.steps[0], 2)), None)

    def place(self, member: Member) -> tuple[int, int] | None:
        """The step and the input where a member is used; None where there are several."""
        uses = {member.use} if member.use is not None else self._used(member)
        return next(iter(uses)) if len(uses) == 1 else None

    def _is_bias(self, member: Member) -> bool:
        uses = {member.use} if member.use is not None else self._used(member)
        steps = self.groups.trace.steps
        return bool(uses) and all(place in BIASES.get(steps[n].node.op_type, ()) for n, place in uses)

    def norms(self, group: Group) -> dict[int, Norm]:
        """The BatchNormalizations that the group flows through, by their step."""
        found: dict[int, dict[int, Array]] = {}
        for member in group.of("parameter"):
            step = None if member.use is None else self.groups.trace.steps[member.use[0]]
            if member.use is not None and step is not None and step.node.op_type == "BatchNormalization":
                found.setdefault(step.number, {})[member.use[1]] = self.values(member)[..., 0].astype(np.float64)
        epsilon = {n: self.groups.trace.steps[n].attributes.get("epsilon", EPSILON) for n in found}
        whole = {n: v for n, v in found.items() if len(v) == 4}
        return {n: Norm(v[1], v[2], v[3], v[4], epsilon[n]) for n, v in whole.items()}

    def norm_behind(self, member: Member) -> int | None:
        """The BatchNormalization that alone reads what a producer makes, by its step."""
        step: Step = self.groups.trace.steps[member.steps[0]]
        readers = [reader for value in step.outputs[:1] for reader in self._readers.get(id(value), ())]
        is_output = any(step.node.output[0] == value.name for value in step.scope.graph.output)
        if len(member.steps) != 1 or len(readers) != 1 or is_output:
            return None
        return readers[0] if self.groups.trace.steps[readers[0]].node.op_type == "BatchNormalization" else None


def _rows(blocks: list[Array]) -> Array:
    """Blocks of [width, …] side by side."""
    return np.concatenate([block.reshape(len(block), -1) for block in blocks], axis=1)


def _levelled(weights: Array, blocks: list[Array]) -> Array:
    """Blocks of [width, …] side by side, each as large as the weights on average."""
    if not blocks:
        return np.zeros((len(weights), 0))
    return _rows([block * (_level(weights) / max(_level(block), 1e-30)) for block in blocks])


def _level(block: Array) -> float:
    return float(np.sqrt(np.square(block.astype(np.float64, copy=False)).sum() / len(block)))
