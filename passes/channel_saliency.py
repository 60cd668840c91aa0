"""How much each channel matters, from the weights of its dependency group alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.indices import row_chunks
from onnxsqueeze.groups import Group, Groups, Member

Saliency = npt.NDArray[np.float64]  # [width]; higher = keep


def powers(values: npt.NDArray[Any], axis: int, p: float) -> Saliency:
    """Sum of |w|^p over all axes but one: [size of that axis]."""
    total = np.zeros(values.shape[axis])
    rest = tuple(i for i in range(values.ndim) if i != axis)
    for rows in row_chunks(values.shape):
        size = np.abs(values[rows].astype(np.float32, copy=False))
        part = (size if p == 1 else size**p).sum(axis=rest, dtype=np.float64)
        if axis == 0:
            total[rows] = part
        else:
            total += part
    return total


def of_units(member: Member, along: npt.NDArray[Any]) -> Saliency:
    """Numbers along a member's axis, added up for each unit."""
    found: Saliency = along[member.positions].sum(axis=1)
    return found


def lp(groups: Groups, group: Group, p: float) -> Saliency:
    """Lp norm over everything that goes with the unit, each tensor counting the same (Fang et al. 2023)."""
    total = np.zeros(group.width)
    for member in (*group.of("producer"), *group.of("consumer")):
        power = of_units(member, powers(groups.tensor(member), member.axis, p))
        total += power / max(power.mean(), 1e-30)
    return np.asarray(total ** (1 / p), np.float64)


def energy(groups: Groups, group: Group) -> Saliency:
    """Squares of what makes the channel times squares of what reads it: an estimate of what its loss changes."""
    scale = batchnorm(groups, group, (1, 2))
    made = scale if scale is not None else _squares(groups, [*group.of("producer"), *_biases(groups, group)])
    read = _squares(groups, group.of("consumer"))
    return made * read if group.of("consumer") else made


def _squares(groups: Groups, members: Any) -> Saliency:
    total: Any = 0.0
    for member in members:
        total = total + of_units(member, powers(groups.tensor(member), member.axis, 2))
    return np.asarray(total, np.float64)


def _biases(groups: Groups, group: Group) -> list[Member]:
    """Constants that are added to the channels."""
    kinds = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "Add": None, "LSTM": 3, "GRU": 3, "RNN": 3}
    found = []
    for member in group.of("parameter"):
        step = groups.trace.steps[member.steps[0]] if member.steps else None
        if step is not None and step.node.op_type in kinds:
            place = kinds[step.node.op_type]
            if place is None or (member.use is not None and member.use[1] == place):
                found.append(member)
    return found


def batchnorm(groups: Groups, group: Group, places: tuple[int, ...]) -> Saliency | None:
    """Squares of scales (place 1) and shifts (place 2) of the group's BatchNormalizations; None without any."""
    total, found = np.zeros(group.width), False
    for member in group.of("parameter"):
        if member.use is None or member.use[1] not in places:
            continue
        if groups.trace.steps[member.use[0]].node.op_type == "BatchNormalization":
            total += of_units(member, np.square(groups.tensor(member).astype(np.float64)).reshape(-1))
            found = True
    return total if found else None


def bn_scale(groups: Groups, group: Group) -> Saliency | None:
    """|scale| of BatchNormalization (Network Slimming, Liu et al. 2017); None where the group has none."""
    squares = batchnorm(groups, group, (1,))
    return None if squares is None else np.sqrt(squares)


def median(groups: Groups, group: Group) -> Saliency:
    """Distance to all other units' weights: what lies at their geometric median is redundant (He et al. 2019)."""
    squares = np.zeros((group.width, group.width))
    for member in group.of("producer") or group.members:
        rows = groups.matrix(member).astype(np.float64).reshape(group.width, -1)
        rows /= max(float(np.sqrt(np.mean(np.square(rows)))), 1e-30)
        norms = np.square(rows).sum(axis=1)
        squares += np.maximum(norms[:, None] + norms - 2 * rows @ rows.T, 0)
    return np.asarray(np.sqrt(squares).sum(axis=1), np.float64)


FROM_WEIGHTS: dict[str, Callable[[Groups, Group], Saliency | None]] = {
    "l1": lambda groups, group: lp(groups, group, 1),
    "l2": lambda groups, group: lp(groups, group, 2),
    "energy": energy,
    "bn-scale": bn_scale,
    "median": median,
}
"""Kinds that need nothing but the weights, by their name as an option."""
