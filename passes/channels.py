"""Channel removal: whole channels, heads and hidden units go, and the graph becomes smaller on any engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxsqueeze.errors import PassError
from onnxsqueeze.groups import Group, Groups, analyse, remove
from onnxsqueeze.groups.work import measured, totals
from onnxsqueeze.passes import channel_choice as choice
from onnxsqueeze.passes.bounds import choices, in_range
from onnxsqueeze.passes.channel_saliency import FROM_WEIGHTS, Saliency, energy, lp

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

KINDS = (*FROM_WEIGHTS, "lp", "random")


@dataclass(frozen=True)
class Channels:
    """Removes channels of dependency groups. With `ratio`: that share of every group, or of all with `scope` global.

    With `macs` or `parameters`: until that share of them is gone. Without any: what keeps the lost share of each
    group's energy within `error`. `saliency`: l1, l2, lp (of `norm`), energy, bn-scale, median or random. Widths are
    multiples of `multiple` where groups are wide enough; groups under `minimum` are left alone, and `floor` of each
    stays. Channels of graph inputs and outputs always stay.
    """

    ratio: float | None = None
    macs: float | None = None
    parameters: float | None = None
    error: float = 0.02
    scope: str = "uniform"
    saliency: str = "l2"
    norm: float = 2.0
    multiple: int = 8
    minimum: int = 4
    floor: float = 0.1

    def __post_init__(self) -> None:
        for name in ("ratio", "macs", "parameters", "error", "floor"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("norm", self.norm, 0.1, 100)
        in_range("multiple", self.multiple, 1, 1024)
        in_range("minimum", self.minimum, 2, None)
        choices("scope", self.scope, ("uniform", "global"))
        choices("saliency", self.saliency, KINDS)
        if self.ratio is not None and (self.macs is not None or self.parameters is not None):
            raise ValueError("ratio follows from a target of macs or parameters; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        groups = analyse(model)
        found = choice.candidates(groups, self._saliencies(groups, context), self.multiple, self.minimum)
        kept = choice.chosen(found, self._counts(groups, found, context))
        return remove(groups, kept)

    def _saliencies(self, groups: Groups, context: Context) -> dict[int, Saliency]:
        wide = [group for group in groups.removable if group.width >= self.minimum]
        found = context.each("saliency", lambda g: self._saliency(groups, g, context), wide, lambda g: f"group {g.id}")
        return {group.id: saliency for group, saliency in zip(wide, found, strict=True)}

    def _saliency(self, groups: Groups, group: Group, context: Context) -> Saliency:
        if self.ratio is None and self.macs is None and self.parameters is None:
            return energy(groups, group)
        if self.saliency == "random":
            return np.random.default_rng([context.seed, group.id]).random(group.width)
        if self.saliency == "lp":
            return lp(groups, group, self.norm)
        found = FROM_WEIGHTS[self.saliency](groups, group)
        return lp(groups, group, 2) if found is None else found

    def _counts(self, groups: Groups, found: list[choice.Candidate], context: Context) -> choice.Counts:
        def count(ratio: float) -> choice.Counts:
            if self.scope == "global":
                return choice.ranked(found, ratio, self.floor)
            return choice.uniform(found, min(ratio, 1 - self.floor))

        if self.ratio is not None:
            return count(self.ratio)
        if self.macs is None and self.parameters is None:
            return choice.bounded(found, self.error)
        shapes = (
            {name: np.shape(value) for name, value in context.calibration[0].items()} if context.calibration else {}
        )
        work = totals(groups, measured(groups.model.proto, shapes))
        counts, macs, parameters = choice.searched(work, found, count, self.macs, self.parameters)
        for name, wanted, reached in (("macs", self.macs, macs), ("parameters", self.parameters, parameters)):
            if wanted is not None and reached < wanted:
                raise PassError(f"at most {100 * reached:.0f} % of the {name} can be removed, not {100 * wanted:.0f} %")
        return counts
