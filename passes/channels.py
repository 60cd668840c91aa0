"""Channel removal: whole channels, heads and hidden units go, and the graph becomes smaller on any engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxsqueeze.errors import PassError
from onnxsqueeze.groups import Group, Groups, analyse, remove
from onnxsqueeze.groups.remove import Gone, removed_units
from onnxsqueeze.groups.work import measured, totals
from onnxsqueeze.passes import channel_choice as choice
from onnxsqueeze.passes.bounds import choices, in_range
from onnxsqueeze.passes.channel_compensation import compensate, move
from onnxsqueeze.passes.channel_importance import FROM_DATA, Data
from onnxsqueeze.passes.channel_saliency import FROM_WEIGHTS, Saliency, energy, lp

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

KINDS = (*FROM_WEIGHTS, "lp", "random", *FROM_DATA)
COMPENSATIONS = ("auto", "none", "mean", "least-squares")


@dataclass(frozen=True)
class Channels:
    """Removes channels of dependency groups. With `ratio`: that share of every group, or of all with `scope` global.

    With `macs` or `parameters`: until that share of them is gone. Without any: what keeps the lost share of each
    group's energy within `error`. `saliency`: energy, l1, l2, lp (of `norm`), bn-scale, median, random; with
    calibration inputs activation, apoz or taylor. `compensate`: none, mean or least-squares over calibration inputs;
    auto: least-squares where there are some. Widths are multiples of `multiple` in groups four times as wide or more,
    of a half or quarter of it in narrower ones; groups under `minimum` are left alone, and `floor` of each stays.
    Channels of graph inputs and outputs always stay.
    """

    ratio: float | None = None
    macs: float | None = None
    parameters: float | None = None
    error: float = 0.02
    scope: str = "uniform"
    saliency: str = "energy"
    norm: float = 2.0
    compensate: str = "auto"
    multiple: int = 16
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
        choices("compensate", self.compensate, COMPENSATIONS)
        if self.ratio is not None and (self.macs is not None or self.parameters is not None):
            raise ValueError("ratio follows from a target of macs or parameters; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        groups = analyse(model)
        wide = [group for group in groups.removable if group.width >= self.minimum]
        data = Data(groups, wide, self.saliency, context) if self._needs_data(context) else None
        found = context.each("saliency", lambda g: self._saliency(data, groups, g, context), wide, lambda g: str(g.id))
        saliencies = {group.id: saliency for group, saliency in zip(wide, found, strict=True)}
        candidates = choice.candidates(groups, saliencies, self.multiple)
        kept = choice.chosen(candidates, self._counts(groups, candidates, context))
        return take_out(groups, kept, None if self.compensate == "none" else data, self.compensate != "mean")

    def _needs_data(self, context: Context) -> bool:
        needed = self.saliency in FROM_DATA or self.compensate in ("mean", "least-squares")
        if needed and not context.calibration:
            named = f"saliency={self.saliency}" if self.saliency in FROM_DATA else f"compensate={self.compensate}"
            raise PassError(f"{named} needs calibration inputs; give some with --calibration")
        return needed or (self.compensate == "auto" and bool(context.calibration))

    def _saliency(self, data: Data | None, groups: Groups, group: Group, context: Context) -> Saliency:
        if self.ratio is None and self.macs is None and self.parameters is None:
            return energy(groups, group)
        if self.saliency == "random":
            return np.random.default_rng([context.seed, group.id]).random(group.width)
        if self.saliency == "lp":
            return lp(groups, group, self.norm)
        if self.saliency in FROM_DATA:
            assert data is not None
            found = data.saliency(groups, group)
        else:
            found = FROM_WEIGHTS[self.saliency](groups, group)
        return energy(groups, group) if found is None else found

    def _counts(self, groups: Groups, found: list[choice.Candidate], context: Context) -> choice.Counts:
        def count(ratio: float) -> choice.Counts:
            if self.scope == "global":
                return choice.ranked(found, ratio, self.floor)
            return choice.uniform(found, min(ratio, 1 - self.floor))

        if self.ratio is not None:
            return count(self.ratio)
        if self.macs is None and self.parameters is None:
            return choice.bounded(found, self.error)
        if not found:
            context.notes("channels: no group of channels can be made smaller")
            return {}
        feed = context.calibration[0] if context.calibration else {}
        shapes = {name: np.shape(value) for name, value in feed.items()}
        work = totals(groups, measured(groups.model.proto, shapes))
        counts, macs, parameters = choice.searched(work, found, count, self.macs, self.parameters)
        for name, wanted, reached in (("macs", self.macs, macs), ("parameters", self.parameters, parameters)):
            if wanted is not None and reached < wanted:
                raise PassError(f"at most {100 * reached:.0f} % of the {name} can be removed, not {100 * wanted:.0f} %")
        return counts


def take_out(groups: Groups, kept: Mapping[int, Any], data: Data | None, matrix: bool = True) -> int:
    """Removes all other units; with ``data`` what reads them makes up for them. Returns how many units went."""
    if data is None:
        return remove(groups, kept)
    gone = Gone(groups, removed_units(groups, kept))
    readings = [reading for number in kept for reading in data.readings[number]]
    shifts = compensate(groups, gone, readings, data.moments, matrix)
    count = remove(groups, kept)
    move(groups.model, shifts)
    return count
