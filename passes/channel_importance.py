"""How much each channel matters on calibration inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxsqueeze.groups import Group, Groups
from onnxsqueeze.passes.channel_activations import Moments, Reading, collect, readings
from onnxsqueeze.passes.channel_saliency import Saliency, of_units, powers
from onnxsqueeze.passes.channel_taylor import taylor

if TYPE_CHECKING:
    from onnxsqueeze.pipeline import Context


def activation(groups: Groups, readings: Sequence[Reading], moments: Mapping[str, Moments]) -> Saliency:
    """Mean square of what the unit adds to the outputs of its readers: E[a²]·‖w‖² over all of them."""
    total: Saliency = np.zeros(len(readings[0].member.positions))
    for reading in readings:
        member, found = reading.member, moments[reading.value]
        read = powers(groups.tensor(member), member.axis, 2)
        total += of_units(member, found.squares / max(found.count, 1) * read)
    return total


def apoz(groups: Groups, readings: Sequence[Reading], moments: Mapping[str, Moments]) -> Saliency:
    """Share of values that are not zero (Hu et al. 2016: channels with the most zeros behind Relu go)."""
    total: Saliency = np.zeros(len(readings[0].member.positions))
    for reading in readings:
        found = moments[reading.value]
        total += of_units(reading.member, found.nonzero / max(found.count, 1)) / reading.member.positions.shape[1]
    return total / len(readings)


KINDS = {"activation": activation, "apoz": apoz}
FROM_DATA = (*KINDS, "taylor")
"""Kinds that need calibration inputs, by their name as an option."""


class Data:
    """What was measured on the calibration inputs, for all groups that may lose channels."""

    def __init__(self, groups: Groups, wide: Sequence[Group], kind: str, context: Context) -> None:
        self.readings = {group.id: readings(groups, group) for group in wide}
        wanted = {reading.value: reading.axis for found in self.readings.values() for reading in found}
        self.moments = collect(groups, wanted, context)
        self._kind = kind
        self._taylor = taylor(groups, self.readings, context) if kind == "taylor" else {}

    def saliency(self, groups: Groups, group: Group) -> Saliency | None:
        """None where no reader of the group can be measured."""
        found = self.readings[group.id]
        if self._kind == "taylor":
            return self._taylor.get(group.id)
        return KINDS[self._kind](groups, found, self.moments) if found else None
