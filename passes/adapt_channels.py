"""Channels go, some of every group at a time, until a device pays no more than a limit (Yang et al. 2018, NetAdapt).

Each round takes a share of the way. What a group's channels are worth is measured: outputs of the whole model without
a quarter of them; what they cost is the cost model's figure for the nodes that they flow through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Groups, analyse
from onnxsqueeze.groups.remove import removed_units
from onnxsqueeze.groups.work import Totals, measured, totals
from onnxsqueeze.model.graphs import label
from onnxsqueeze.passes import channel_choice as choice
from onnxsqueeze.passes.channel_importance import Data
from onnxsqueeze.passes.channel_saliency import energy
from onnxsqueeze.passes.channels import take_out

if TYPE_CHECKING:
    from onnxsqueeze.calibration.trial import Trial
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes.channel_choice import Candidate
    from onnxsqueeze.passes.resource import Resource
    from onnxsqueeze.pipeline import Context

ROUNDS, MOST = 4, 16  # in which the way is made, and that are made at most
SHARES = tuple(i / 16 for i in range(9))  # of a group's channels that may go in one round
PROBE = 0.25  # of them, without which the model is measured
SAMPLES = 8  # that it is measured on
MULTIPLE, NARROWEST = 8, 4  # as in ``channels``


@dataclass(frozen=True)
class Offer:
    """What one group may lose: how many units stay, what outputs lose then, and what the device saves."""

    count: int
    loss: float
    saved: float


def shrink(
    model: Model,
    resource: Resource,
    measure: Callable[[Model], float],
    limit: float,
    trial: Trial | None,
    context: Context,
) -> float:
    """Removes channels until ``measure`` is within the limit, or no more can go; returns what it is then."""
    progress, now = context.progress, measure(model)
    progress.start("channels", ROUNDS)
    for number in range(MOST):
        if now <= limit:
            break
        target = now - (now - limit) / max(ROUNDS - number, 1)
        if not _round(model, resource, target / now, trial, context):
            break
        now = measure(model)
        progress.advance(resource.told(now))
    progress.finish()
    return now


def _round(model: Model, resource: Resource, share: float, trial: Trial | None, context: Context) -> int:
    """Takes channels so that about this share of the resource is left; returns how many went."""
    groups = analyse(model)
    wide = [group for group in groups.removable if group.width >= NARROWEST]
    data = Data(groups, wide, "activation", context) if context.calibration else None
    saliencies = {g.id: (data.saliency(groups, g) if data else None) for g in wide}
    known = {g.id: energy(groups, g) if (found := saliencies[g.id]) is None else found for g in wide}
    candidates = choice.candidates(groups, known, MULTIPLE)
    work = _weighted(groups, resource, context)
    offers = {c.group.id: list(_offers(groups, c, work, _gain(groups, c, trial))) for c in candidates}

    def kept(multiplier: float) -> Mapping[int, Any]:
        counts = {n: min(o, key=lambda x: (x.loss - multiplier * x.saved, -x.count)).count for n, o in offers.items()}
        return choice.chosen(candidates, counts)

    low, high = -60.0, 60.0  # log2 of what a saved share is worth in loss
    for _ in range(40):
        middle = (low + high) / 2
        enough = work.left(removed_units(groups, kept(2**middle)))[0] <= share
        low, high = (low, middle) if enough else (middle, high)
    stays = kept(2**high)
    return take_out(groups, stays, data) if stays else 0


def _offers(groups: Groups, candidate: Candidate, work: Totals, gain: float) -> Iterator[Offer]:
    lost = np.append(0.0, np.cumsum(np.sort(candidate.saliency)))
    width = candidate.group.width
    counts = sorted({candidate.counts(width * (1 - share)) for share in SHARES} | {width}, reverse=True)
    for count in counts:
        kept = choice.chosen([candidate], {candidate.group.id: count})
        left = work.left(removed_units(groups, kept))[0]
        yield Offer(count, gain * float(lost[width - count]), 1 - left)


def _gain(groups: Groups, candidate: Candidate, trial: Trial | None) -> float:
    """What outputs lose for each unit of saliency."""
    if trial is None:
        return 1 / max(float(candidate.saliency.sum()), 1e-30)
    count = max(1, int(PROBE * candidate.group.width))
    units = np.argsort(candidate.saliency, kind="stable")[:count]
    lost = max(float(candidate.saliency[units].sum()), 1e-30)
    with _without(groups, candidate, units):
        return max(trial.loss(groups.model, SAMPLES, scored=False).shift, 1e-12) / lost


@contextmanager
def _without(groups: Groups, candidate: Candidate, units: npt.NDArray[np.int64]) -> Iterator[None]:
    """Meanwhile nothing reads these units; those that no weight reads are not made."""
    members = candidate.group.of("consumer") or candidate.group.of("producer")
    before = [groups.matrix(member) for member in members]
    for member, matrix in zip(members, before, strict=True):
        changed = matrix.copy()
        changed[units] = 0
        groups.assign(member, changed)
    try:
        yield
    finally:
        for member, matrix in zip(members, before, strict=True):
            groups.assign(member, matrix)


def _weighted(groups: Groups, resource: Resource, context: Context) -> Totals:
    """The work of the model, each node's products weighing as much as the device pays for it."""
    feed = context.calibration[0] if context.calibration else {}
    sizes = measured(groups.model.proto, {name: np.shape(value) for name, value in feed.items()})
    found, costs = totals(groups, sizes), resource.of_nodes(groups.model)
    names = [label(step.node) for step in groups.trace.steps]
    of_step: dict[int, float] = {}
    for work in found.macs:
        of_step[work.step] = of_step.get(work.step, 0.0) + work.amount
    known = {step: costs[names[step]] for step in of_step if names[step] in costs}
    typical = sum(known.values()) / sum(of_step[step] for step in known) if known else 1.0

    def weight(step: int, amount: float) -> float:
        total = known.get(step, typical * of_step[step])
        return total * amount / max(of_step[step], 1e-30)

    macs = tuple(replace(w, amount=weight(w.step, w.amount)) for w in found.macs)
    return Totals(groups, macs, found.parameters)
