"""Removal of channels: slices every member of the groups, then repairs what depends on sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.errors import ModelError
from onnxsqueeze.groups.channels import Labels
from onnxsqueeze.groups.group import Groups
from onnxsqueeze.groups.repair import Repair
from onnxsqueeze.groups.select import selected, take
from onnxsqueeze.model.graphs import remove_dead

Mask = npt.NDArray[np.bool_]


class Gone:
    """Which positions go when some units do."""

    def __init__(self, groups: Groups, removed: Mask) -> None:
        terms = groups.solution.terms
        gone: Mask = np.append(removed, False)[terms].any(axis=1).reshape(-1)
        self._gone = np.append(gone, False)

    def keep(self, labels: Labels) -> Mask:
        """Mask (True = keep) of the positions of an axis."""
        gone: Mask = self._gone[labels].any(axis=1).reshape(-1)
        return ~gone


def remove(groups: Groups, kept: Mapping[int, Sequence[int] | npt.NDArray[Any]]) -> int:
    """Removes channels from the model that was analysed; returns how many units went.

    Args:
        groups: what ``analyse`` found in the model as it is now; stale, like all of its parts, when this returns.
        kept: for each group (by id) the units that stay, numbers below its width; groups left out stay whole.

    Raises:
        ModelError: a group is blocked, or would keep nothing; the model is untouched then.
    """
    removed = removed_units(groups, kept)
    if not removed.any():
        return 0
    gone = Gone(groups, removed)
    for step in groups.trace.steps:
        for value in step.outputs:
            for axis in value.axes or ():
                if axis.labels is not None and len(axis.labels) and not gone.keep(axis.labels).any():
                    raise ModelError(f"nothing would be left of an axis of '{step.node.output[0]}'")
    selection = selected(groups, lambda slot, labels: np.flatnonzero(gone.keep(labels)))
    Repair(groups, gone.keep).run()
    take(groups, selection)
    remove_dead(groups.model.proto.graph)
    groups.model.refresh()
    return int(removed.sum())


def removed_units(groups: Groups, kept: Mapping[int, Sequence[int] | npt.NDArray[Any]]) -> Mask:
    """Mask over all units of the analysis, those of no group included; raises ModelError as ``remove`` does."""
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
