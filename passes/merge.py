"""Data-free merging of neurons: similar units become one, and what reads them is corrected (Srinivas & Babu 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group, analyse, remove
from onnxsqueeze.passes import merge_pairs as pairs
from onnxsqueeze.passes.bounds import in_range
from onnxsqueeze.passes.merge_features import Sides, Units

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context


@dataclass(frozen=True)
class Merge:
    """Merges units of dependency groups that do almost the same: neurons, channels, heads, hidden units.

    With `ratio`: that share of every group; with `count`: so many units of each. With `mode`: up to that share of the
    mode of the saliencies (1.0 is the paper's rule). Without any: what keeps the lost share of each group's energy
    within `error`. With `scaled`, units that are multiples of each other are merged through Relu-like functions.
    Groups under `minimum` are left alone.
    """

    ratio: float | None = None
    count: int | None = None
    mode: float | None = None
    error: float = 0.02
    scaled: bool = True
    minimum: int = 4

    def __post_init__(self) -> None:
        for name in ("ratio", "error"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("mode", self.mode, 0, None)
        in_range("count", self.count, 0, None)
        in_range("minimum", self.minimum, 2, None)
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
            found = pairs.sequence(sides.scaled, sides.fixed, sides.readers, self.scaled and sides.homogeneous, context)
            count = self._count(found, sides, group)
            if count:
                kept, transfer = found.transfer(count)
                units.merge(group, kept, transfer)
                stays[group.id] = kept
        return remove(groups, stays)

    def _count(self, found: pairs.Sequence, sides: Sides, group: Group) -> int:
        """How many units of a group go."""
        if self.ratio is not None:
            return min(round(self.ratio * group.width), group.width - 1)
        if self.count is not None:
            return min(self.count, group.width - 1)
        if self.mode is not None:
            return pairs.below(found.saliency, self.mode * pairs.mode(found.saliency))
        lost = np.cumsum(found.saliency) * sides.readers.shape[1]
        return int((lost <= self.error**2 * sides.energy).sum())
