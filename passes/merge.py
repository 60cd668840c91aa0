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
from onnxsqueeze.passes.merge_features import Sides, Units
from onnxsqueeze.passes.merge_moments import eliminate

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64]

METHODS = ("auto", "pairs", "moments")


@dataclass(frozen=True)
class Merge:
    """Merges units of dependency groups that do almost the same: neurons, channels, heads, hidden units.

    With `ratio`: that share of every group; with `count`: so many units of each. With `mode`: up to that share of the
    mode of the saliencies (1.0 is the paper's rule). Without any: what keeps the lost share of each group's energy
    within `error`. `method`: pairs, one unit after the other into the one most like it, with a factor where functions
    let one through (`scaled`); moments, as a combination of all that stay, where the weights tell how alike
    activations are; auto, moments where they can be told. Groups under `minimum` are left alone.
    """

    ratio: float | None = None
    count: int | None = None
    mode: float | None = None
    error: float = 0.02
    method: str = "auto"
    scaled: bool = True
    minimum: int = 4

    def __post_init__(self) -> None:
        for name in ("ratio", "error"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("mode", self.mode, 0, None)
        in_range("count", self.count, 0, None)
        in_range("minimum", self.minimum, 2, None)
        choices("method", self.method, METHODS)
        if sum(given is not None for given in (self.ratio, self.count, self.mode)) > 1:
            raise ValueError("ratio, count and mode exclude each other; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        groups = analyse(model)
        units = Units(groups)
        chosen = [group for group in units.mergeable() if group.width >= self.minimum]
        stays: dict[int, npt.NDArray[np.int64]] = {}
        for group in chosen:  # in graph order: what is merged before changes what makes those behind
            sides = units.sides(group)
            if not sides.finite:
                context.notes(f"'{group.members[0].tensor}' goes with NaN or infinite values: left as it is")
                continue
            kept, transfer = self._merged(units, group, sides, context)
            if len(kept) < group.width:
                units.merge(group, kept, transfer)
                stays[group.id] = kept
        return remove(groups, stays)

    def _merged(self, units: Units, group: Group, sides: Sides, context: Context) -> tuple[Order, Any]:
        """The units that stay, and what the weights that read them are made of."""
        scaled = self.scaled and sides.homogeneous
        found = pairs.sequence(sides.scaled, sides.fixed, sides.readers, scaled, context)
        assumed = activations(units, group) if self._combines else None
        if assumed is None:
            lost = np.cumsum(found.saliency) * sides.readers.shape[1]
            return found.transfer(self._count(group.width, lost / max(sides.energy, 1e-30), found.saliency))
        equal = min(pairs.below(found.saliency, 0), self._count(group.width, np.zeros(group.width - 1), found.saliency))
        kept, transfer = found.transfer(equal)
        if len(kept) == 1:
            return kept, transfer
        order = eliminate(assumed.second[np.ix_(kept, kept)], transfer @ sides.readers)
        costs = np.append(np.zeros(equal), np.cumsum(order.cost) / max(order.total, 1e-30))
        count = max(self._count(group.width, costs, found.saliency) - equal, 0)
        stays, more = order.transfer(count)
        return kept[stays], more @ transfer

    @property
    def _combines(self) -> bool:
        return self.method == "moments" or (self.method == "auto" and self.mode is None)

    def _count(self, width: int, lost: Array, saliency: Array) -> int:
        """How many units of a group go. ``lost``: the share of its energy that is lost with each more."""
        if self.ratio is not None:
            return min(round(self.ratio * width), width - 1)
        if self.count is not None:
            return min(self.count, width - 1)
        if self.mode is not None:
            return pairs.below(saliency, self.mode * pairs.mode(saliency))
        return int((lost <= self.error**2).sum())
