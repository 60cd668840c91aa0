"""Dependency groups: channels of several tensors that can only go together (Fang et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups.channels import Cause, Solution
from onnxsqueeze.groups.value import Trace
from onnxsqueeze.model import Model

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
    steps: tuple[int, ...] = field(repr=False)  # the nodes that use it so, by their number in the analysis
    use: tuple[int, int] | None = None  # step and input, where only this use of the tensor is meant


@dataclass(frozen=True, eq=False)
class Group:
    """Units that are alike: each can be removed alone, with its positions in all members.

    A unit is one channel, or what goes with it: a head with its dimensions, a channel of a convolution with the
    columns of the matrix behind Flatten. Where an axis is split (heads and dimensions), it lies in two groups.
    """

    id: int
    width: int  # number of units
    members: tuple[Member, ...]
    blocked: Cause | None  # why none may be removed
    is_output: bool  # the channels are those of a graph output
    units: Places = field(repr=False)  # [width] their numbers in the analysis
    steps: tuple[int, ...] = field(repr=False)  # numbers of the nodes that the channels flow through, in graph order
    reductions: tuple[int, ...] = field(repr=False)  # of those, nodes that sum over the channels without weights

    def of(self, role: str) -> tuple[Member, ...]:
        """The members in one role."""
        return tuple(member for member in self.members if member.role == role)

    @property
    def positions(self) -> int:
        """How many positions of a tensor go with one unit, at most."""
        return max(int(member.positions.shape[1]) for member in self.members)

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

    def tensor(self, member: Member) -> npt.NDArray[np.generic]:
        """The values of a member's tensor, read-only."""
        return self.model.read(self.trace.constants[member.scope, member.tensor])

    def matrix(self, member: Member) -> npt.NDArray[np.generic]:
        """A copy of a member's values with the units in front: [width, positions of a unit, all other axes flat]."""
        values = np.moveaxis(self.tensor(member), member.axis, 0)
        return values[member.positions].reshape(*member.positions.shape, -1)

    def assign(self, member: Member, matrix: npt.NDArray[np.generic]) -> None:
        """Replaces a member's values by those of a matrix as ``matrix`` gives it.

        All uses of a constant see the change, also where ``member.use`` names one.
        """
        tensor = self.trace.constants[member.scope, member.tensor]
        values = np.array(self.model.read(tensor))
        moved = np.moveaxis(values, member.axis, 0)
        moved[member.positions] = matrix.reshape(*member.positions.shape, *moved.shape[1:])
        self.model.write(tensor, values)
