"""What happens to channels between what makes them and what reads them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxsqueeze.groups import Group, Groups
from onnxsqueeze.groups.channels import NONE, Labels
from onnxsqueeze.groups.value import Step, Value
from onnxsqueeze.model.graphs import domain

Carries = Callable[[Value | None], bool]

_EACH = (
    "Conv FusedConv ConvTranspose Gemm Identity Cast Dropout Transpose Reshape Flatten Squeeze Unsqueeze Concat Split "
    "Slice Gather Expand Tile AveragePool GlobalAveragePool DepthToSpace SpaceToDepth ReduceMean ReduceSum Neg Relu "
    "LeakyRelu Abs MaxPool GlobalMaxPool LpPool GlobalLpPool ReduceMax ReduceMin ReduceL1 ReduceL2 "
    "BatchNormalization Shape"
)
EACH = frozenset(_EACH.split())
"""f(r·x) = r·f(x) for r > 0, of each input alone."""
TOGETHER = ("Add", "Sub", "Sum", "Max", "Min", "Mean")  # where all inputs are scaled
ONE = ("Mul", "MatMul")  # where one input is scaled


def is_homogeneous(groups: Groups, group: Group) -> bool:
    """Whether a channel that is made r times as large arrives r times as large at what reads it, for any r > 0."""
    members = np.append(np.zeros(groups.solution.units, bool), False)
    members[group.units] = True
    known: dict[int, bool] = {}

    def holds(labels: Labels) -> bool:
        if id(labels) not in known:
            known[id(labels)] = bool(members[groups.solution.terms[labels[labels != NONE]]].any())
        return known[id(labels)]

    def carries(value: Value | None) -> bool:
        axes = (value.axes or ()) if value is not None else ()
        return any(axis.labels is not None and holds(axis.labels) for axis in axes)

    return all(_passes(groups.trace.steps[number], carries) for number in group.steps)


def _passes(step: Step, carries: Carries) -> bool:
    kind, inputs = step.node.op_type, step.inputs
    if domain(step.node) != "":
        return False
    if kind in EACH:
        return True
    if kind in TOGETHER:
        return all(carries(value) for value in inputs)
    active = [value is not None and not value.constant and carries(value) for value in inputs]
    if kind in ONE:
        return sum(active) <= 1
    if kind in ("Div", "PRelu"):
        return not any(active[1:])
    if kind in ("Pad", "Resize", "Upsample"):
        return _pads_nothing(step)
    return False


def _pads_nothing(step: Step) -> bool:
    """Whether what is added at the borders is zero, or copied from within."""
    if step.attributes.get("extrapolation_value", 0) or step.attributes.get("value", 0):
        return False
    fill = step.inputs[2] if step.node.op_type == "Pad" and len(step.inputs) > 2 else None
    return fill is None or (fill.contents is not None and all(_is_zero(size) for size in fill.contents.flat))


def _is_zero(size: object) -> bool:
    return getattr(size, "factor", size) == 0
