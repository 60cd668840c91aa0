"""Data-free merging of neurons: similar units become one, and what reads them is corrected (Srinivas & Babu 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group, analyse, remove
from onnxsqueeze.passes import merge_pairs as pairs
from onnxsqueeze.passes.bounds import choices, in_range
from onnxsqueeze.passes.merge_activations import activations
from onnxsqueeze.passes.merge_features import Units
from onnxsqueeze.passes.merge_plan import Plan, clustered, combined, paired

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

METHODS = ("auto", "pairs", "moments", "clusters")


@dataclass(frozen=True)
class Merge:
    """Merges units of dependency groups that do almost the same: neurons, channels, heads, hidden units.

    With `ratio`: that share of every group, or of all together with `scope` global; with `count`: so many units of
    each. With `mode`: up to that share of the mode of the saliencies (1.0 is the paper's rule). Without any: what
    keeps the lost share of each group's energy within `error`. `method`: pairs, one unit after the other into the one
    most like it, with a factor where functions let one through (`scaled`); moments, as a combination of all that
    stay, where the weights tell how alike activations are; clusters, by k-means, with repaired statistics; auto,
    moments or else pairs. Groups under `minimum` are left alone.
    """

    ratio: float | None = None
    count: int | None = None
    mode: float | None = None
    error: float = 0.02
    scope: str = "uniform"
    method: str = "auto"
    scaled: bool = True
    minimum: int = 4

    def __post_init__(self) -> None:
        for name in ("ratio", "error"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("mode", self.mode, 0, None)
        in_range("count", self.count, 0, None)
        in_range("minimum", self.minimum, 2, None)
        choices("scope", self.scope, ("uniform", "global"))
        choices("method", self.method, METHODS)
        if sum(given is not None for given in (self.ratio, self.count, self.mode)) > 1:
            raise ValueError("ratio, count and mode exclude each other; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        groups = analyse(model)
        units = Units(groups)
        chosen = [group for group in units.mergeable() if group.width >= self.minimum]
        shares = self._shares(units, chosen, context)
        stays: dict[int, npt.NDArray[np.int64]] = {}
        for group in chosen:  # in graph order: what is merged before changes what makes those behind
            plan = self._plan(units, group, context)
            count = 0 if plan is None else shares.get(group.id, self._count(group.width, plan))
            if plan is not None and count:
                kept, transfer = plan.merged(count)
                units.merge(group, kept, transfer)
                stays[group.id] = kept
        return remove(groups, stays)

    def _plan(self, units: Units, group: Group, context: Context) -> Plan | None:
        """How a group would be merged; None where it cannot be."""
        sides = units.sides(group)
        if not sides.finite:
            context.notes(f"'{group.members[0].tensor}' goes with NaN or infinite values: left as it is")
            return None
        if self.method == "clusters":
            return clustered(units, group, sides)
        found = pairs.sequence(sides.scaled, sides.fixed, sides.readers, self.scaled and sides.homogeneous, context)
        assumed = activations(units, group) if self._combines else None
        return paired(found, sides) if assumed is None else combined(found, sides, assumed)

    @property
    def _combines(self) -> bool:
        return self.method == "moments" or (self.method == "auto" and self.mode is None)

    def _shares(self, units: Units, chosen: list[Group], context: Context) -> dict[int, int]:
        """How many units of each group go under one ratio for all together, at the same loss for each."""
        if self.scope == "uniform" or self.ratio is None:
            return {}
        plans = {group.id: self._plan(units, group, context) for group in chosen}
        lost = {number: np.maximum.accumulate(plan.lost) for number, plan in plans.items() if plan is not None}
        if not lost:
            return {}
        levels = np.sort(np.concatenate(list(lost.values())))
        wanted = min(round(self.ratio * (len(levels) + len(lost))), len(levels))
        limit = levels[wanted - 1] if wanted else -1.0
        return {number: int((costs <= limit).sum()) for number, costs in lost.items()}

    def _count(self, width: int, plan: Plan) -> int:
        """How many units of a group go."""
        if self.ratio is not None:
            return min(round(self.ratio * width), width - 1)
        if self.count is not None:
            return min(self.count, width - 1)
        if self.mode is not None:
            return pairs.below(plan.saliency, self.mode * pairs.mode(plan.saliency))
        return int((plan.lost <= self.error**2).sum())
