"""How the units of a group would be merged: what each number of merges costs, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group
from onnxsqueeze.passes import merge_pairs as pairs
from onnxsqueeze.passes.merge_clusters import fold, tree
from onnxsqueeze.passes.merge_features import Sides, Units
from onnxsqueeze.passes.merge_moments import Moments, eliminate

Array = npt.NDArray[Any]
Merged = tuple[npt.NDArray[np.int64], Any]  # units that stay, and the matrix [kept, width] for what reads them


@dataclass(frozen=True, eq=False)
class Plan:
    """``lost`` [width - 1]: the share of the group's energy that so many merges cost; ``saliency``: of each merge."""

    lost: Array
    saliency: Array
    merged: Callable[[int], Merged]


def paired(found: pairs.Sequence, sides: Sides) -> Plan:
    """One unit after the other into the one most like it."""
    lost = np.cumsum(found.saliency) * sides.readers.shape[1] / max(sides.energy, 1e-30)
    return Plan(lost, found.saliency, found.transfer)


def combined(found: pairs.Sequence, sides: Sides, assumed: Moments) -> Plan:
    """Equal units first, exactly; then each as a combination of those that stay."""
    equal = pairs.below(found.saliency, 0)
    kept, first = found.transfer(equal)
    order = eliminate(assumed.second[np.ix_(kept, kept)], first @ sides.readers)
    lost = np.append(np.zeros(equal), np.cumsum(order.cost) / max(order.total, 1e-30))

    def merged(count: int) -> Merged:
        if count <= equal:
            return found.transfer(count)
        stays, more = order.transfer(count - equal)
        return kept[stays], more @ first

    return Plan(lost, found.saliency, merged)


def clustered(units: Units, group: Group, sides: Sides) -> Plan:
    """Whole clusters at once."""
    found = tree(np.concatenate([sides.scaled, sides.fixed], axis=1))
    return Plan(
        found.lost, np.diff(found.lost, prepend=0), lambda count: fold(units, group, found.labels(group.width - count))
    )
