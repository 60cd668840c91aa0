"""Which channels go: how many of each group, under a ratio, a target or a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group, Groups
from onnxsqueeze.groups.remove import removed_units
from onnxsqueeze.groups.work import Totals
from onnxsqueeze.passes.channel_saliency import Saliency

Counts = dict[int, int]  # units kept, by group
STEPS = 30  # of the search for a target
MOST = 0.99  # share of channels that a search may remove


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group that may lose channels."""

    group: Group
    saliency: Saliency
    multiple: int  # widths are a multiple of this
    shared: int  # how many groups its positions belong to: heads and dimensions share them

    def counts(self, wanted: float, up: bool = False) -> int:
        """The allowed width next to the wanted one, or next above it."""
        width = self.group.width
        steps = math.ceil(wanted / self.multiple) if up else math.floor(wanted / self.multiple + 0.5)
        return min(max(steps, 1) * self.multiple, width)


def candidates(groups: Groups, saliencies: Mapping[int, Saliency], multiple: int) -> list[Candidate]:
    """The groups for which there is a saliency."""
    sharing = _sharing(groups)
    return [
        Candidate(groups[number], saliency, _multiple(groups[number], multiple), sharing[number])
        for number, saliency in saliencies.items()
    ]


def _multiple(group: Group, multiple: int) -> int:
    """Narrow groups take half, a quarter …; a unit of several neighbouring channels counts as that many."""
    member = next(iter(group.of("producer") or group.members))
    first = np.sort(member.positions[0])
    run = 1 + int(np.argmin(np.append(np.diff(first) == 1, False)))
    multiple //= math.gcd(multiple, run)
    while multiple > 1 and group.width < 4 * multiple:
        multiple = max(1, multiple // 2)
    return max(1, multiple)


def _sharing(groups: Groups) -> dict[int, int]:
    """For each group how many removable groups its positions belong to."""
    of_unit = np.full(groups.solution.units + 1, -1, np.int64)
    for group in groups.removable:
        of_unit[group.units] = group.id
    most = {group.id: 1 for group in groups}
    rows = np.unique(np.sort(of_unit[groups.solution.terms], axis=1), axis=0)
    for row in rows:
        together = sorted(set(row.tolist()) - {-1})
        for number in together:
            most[number] = max(most[number], len(together))
    return most


def uniform(found: list[Candidate], ratio: float) -> Counts:
    """The same share of every group."""
    return {c.group.id: c.counts(c.group.width * (1 - ratio) ** (1 / c.shared)) for c in found}


def ranked(found: list[Candidate], ratio: float, floor: float) -> Counts:
    """The least salient channels of all groups together; saliency counts over its group's mean.

    Of channels that are as salient as each other, all groups lose the same share.
    """
    if not found:
        return {}
    normal = np.concatenate([c.saliency / max(float(c.saliency.mean()), 1e-30) for c in found])
    within = np.concatenate([np.argsort(np.argsort(c.saliency, kind="stable")) / c.group.width for c in found])
    owner = np.repeat(np.arange(len(found)), [c.group.width for c in found])
    gone = np.lexsort((within, normal))[: int(ratio * len(normal))]
    lost = np.bincount(owner[gone], minlength=len(found))
    return {
        c.group.id: c.counts(max(float(c.group.width - count), floor * c.group.width))
        for c, count in zip(found, lost.tolist(), strict=True)
    }


def bounded(found: list[Candidate], error: float) -> Counts:
    """As many as keep the lost share of the group's energy within the bound (saliency is energy here)."""
    counts = {}
    for c in found:
        lost = np.cumsum(np.sort(c.saliency)) / max(float(c.saliency.sum()), 1e-30)
        gone = min(int(np.searchsorted(lost, error**2, side="right")), c.group.width - 1)
        counts[c.group.id] = c.counts(c.group.width - gone, up=True)
    return counts


def chosen(found: list[Candidate], counts: Counts) -> dict[int, npt.NDArray[np.int64]]:
    """The units that stay: the most salient, ties by position; groups that lose nothing are left out."""
    kept = {}
    for c in found:
        count = counts[c.group.id]
        if count < c.group.width:
            order = np.argsort(-c.saliency, kind="stable")[:count]
            kept[c.group.id] = np.sort(order)
    return kept


def searched(
    totals: Totals,
    found: list[Candidate],
    count: Callable[[float], Counts],
    macs: float | None,
    parameters: float | None,
) -> tuple[Counts, float, float]:
    """The smallest ratio that removes these shares of MACs and parameters; the counts, and the shares removed."""

    def removed(ratio: float) -> tuple[float, float]:
        left = totals.left(removed_units(totals.groups, chosen(found, count(ratio))))
        return 1 - left[0], 1 - left[1]

    def enough(shares: tuple[float, float]) -> bool:
        return (macs is None or shares[0] >= macs) and (parameters is None or shares[1] >= parameters)

    low, high = 0.0, MOST
    if enough(removed(high)):
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if enough(removed(middle)) else (middle, high)
    return count(high), *removed(high)
