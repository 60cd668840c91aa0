"""What flows into the readers of a group, as far as the weights tell: moments of the activations, without data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.groups import Group
from onnxsqueeze.groups.value import Step, Value
from onnxsqueeze.passes.merge_features import Norm, Units
from onnxsqueeze.passes.merge_functions import function_of
from onnxsqueeze.passes.merge_moments import Moments, behind

Array = npt.NDArray[Any]
KINDS = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "MatMul"})


def activations(units: Units, group: Group) -> Moments | None:
    """Moments of what the group's weights read; None where too little is known of it.

    One layer makes the group, from values that are taken as independent and of one size; where a BatchNormalization
    tells mean and variance of its outputs, these are taken. A function of single values follows.
    """
    made = group.of("producer")
    if len(made) != 1 or len(made[0].steps) != 1:
        return None
    if any(member.positions.shape[1] != 1 for member in (*made, *group.of("parameter"))):
        return None
    step = units.groups.trace.steps[made[0].steps[0]]
    norm = units.norm_behind(made[0])
    norms = units.norms(group)
    if step.node.op_type not in KINDS or not norms.keys() <= {norm}:
        return None
    found = _shift(units, group, step, norm)
    if found is None:
        return None
    shift, start = found
    function = function_of(units.groups, group, start)
    if function is None:
        return None
    return behind(_before(units.values(made[0]), shift, None if norm is None else norms[norm]), function)


def _shift(units: Units, group: Group, step: Step, norm: int | None) -> tuple[Array, Value] | None:
    """What is added to the sums of the producer, and the value behind it; None where other weights come in."""
    shift, start = np.zeros(group.width), step.outputs[0]
    if norm is not None:
        start = units.groups.trace.steps[norm].outputs[0]
    for member in group.of("parameter"):
        place = units.place(member)
        if place is None:
            return None
        user = units.groups.trace.steps[place[0]]
        if user is step and step.node.op_type != "MatMul" and place[1] == 2:
            shift = shift + units.values(member).reshape(group.width)
        elif user.number == norm:
            continue
        elif user.node.op_type == "Add" and start is step.outputs[0] and user.inputs[1 - place[1]] is start:
            shift, start = shift + units.values(member).reshape(group.width), user.outputs[0]
        else:
            return None
    return shift, start


def _before(values: Array, shift: Array, norm: Norm | None) -> Moments:
    """Moments before the function."""
    rows = values.reshape(len(shift), -1).astype(np.float64)
    if norm is None:
        return Moments(shift, rows @ rows.T)
    # Behind a BatchNormalization mean and deviation are its shift and scale; the weights tell the correlations.
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    signed = norm.scale * rows
    return Moments(norm.shift.reshape(-1), signed @ signed.T)
