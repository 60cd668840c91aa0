"""How much of a model can lose channels, and what keeps the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups.channels import NONE, Cause, Labels
from onnxsqueeze.groups.group import Groups
from onnxsqueeze.groups.value import Axis, Step

ONLY = Cause("", "", "the layer has one channel only")
TOGETHER = Cause("", "", "its channels can only go all together")
OPAQUE = Cause("", "", "the layer's channels are not followed")


@dataclass(frozen=True)
class Coverage:
    """Counts over the layers with constant weights: convolutions and matrix products, each weight once."""

    channels: int  # that are not those of a graph output
    removable: int
    outputs: int  # channels of graph outputs
    parameters: int  # all constant floats
    removable_parameters: int  # in a position that can go
    blocked: tuple[tuple[Cause, int], ...]  # reasons, and how many channels each keeps; most first

    @property
    def share(self) -> float:
        """Removable channels among those that are not graph outputs."""
        return self.removable / self.channels if self.channels else 1.0

    @property
    def parameter_share(self) -> float:
        """Parameters that can go."""
        return self.removable_parameters / self.parameters if self.parameters else 1.0


def coverage(groups: Groups) -> Coverage:
    """Counts channels and parameters that can be removed."""
    free = np.zeros(groups.solution.units + 1, bool)
    output = np.zeros(groups.solution.units + 1, bool)
    why: dict[int, Cause] = {}
    for group in groups:
        free[group.units] = group.removable
        output[group.units] = group.is_output
        cause = group.blocked or (ONLY if group.positions == 1 else TOGETHER)
        why.update(dict.fromkeys(group.units.tolist(), cause))
    counts: dict[Cause, int] = {}
    outputs = removable = 0
    for axis in _layers(groups):
        if axis.labels is None:
            cause = OPAQUE if axis.size.factor > 1 else ONLY
            counts[cause] = counts.get(cause, 0) + axis.size.factor
            continue
        terms = _terms(groups, axis.labels)
        can, must = free[terms].any(axis=1), output[terms].any(axis=1)
        removable += int(can.sum())
        outputs += int((must & ~can).sum())
        for unit in terms[~can & ~must][:, 0].tolist():
            cause = why.get(unit, OPAQUE)
            counts[cause] = counts.get(cause, 0) + 1
    parameters, going = _parameters(groups, free)
    blocked = sorted(counts.items(), key=lambda item: -item[1])
    return Coverage(removable + sum(counts.values()), removable, outputs, parameters, going, tuple(blocked))


def _terms(groups: Groups, labels: Labels) -> npt.NDArray[np.int64]:
    """The units of each position, [positions, k]; those that are none count as the one behind the last."""
    none = groups.solution.units
    units = np.where(labels[..., None] == NONE, NONE, groups.solution.terms[labels])
    flat: npt.NDArray[np.int64] = np.where(units == NONE, none, units).reshape(len(labels), -1)
    return np.sort(flat, axis=1)


def _layers(groups: Groups) -> list[Axis]:
    """The output channels of every layer with a constant weight."""
    found: dict[int, Axis] = {}
    for step in groups.trace.steps:
        axis = _channels(step)
        weight = next((v.tensor for v in step.inputs[1::-1] if v is not None and v.tensor is not None), None)
        if axis is not None and weight is not None:
            found.setdefault(id(weight), axis)
    return list(found.values())


def _channels(step: Step) -> Axis | None:
    outputs = step.outputs[0].axes if step.outputs else None
    if not outputs or len(step.inputs) < 2 or not any(v is not None and v.constant for v in step.inputs[:2]):
        return None
    if step.node.op_type in ("Conv", "ConvTranspose", "FusedConv"):
        return outputs[1]
    if step.node.op_type in ("Gemm", "FusedGemm", "MatMul") and len(outputs) > 1:
        right = step.inputs[1] is not None and step.inputs[1].constant
        return outputs[-1 if right else -2]
    return None


def _parameters(groups: Groups, free: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """All constant floats, and those that lie in a position that can go."""
    stays: dict[tuple[int, str], dict[int, int]] = {}
    counts = dict(groups.trace.channels.vectors)
    for first, slot in groups.trace.slots.items():
        terms = _terms(groups, np.arange(first, first + counts[first])[:, None])
        stays.setdefault((slot.scope, slot.name), {})[slot.axis] = int((~free[terms].any(axis=1)).sum())
    total = going = 0
    for place, axes in stays.items():
        dims = list(groups.trace.constants[place].dims)
        total += math.prod(dims)
        going += math.prod(dims) - math.prod(axes.get(i, size) for i, size in enumerate(dims))
    return total, going
