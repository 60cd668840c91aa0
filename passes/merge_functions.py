"""The function between what makes channels and what reads them, where it works on each value alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from onnxsqueeze.groups import Group, Groups
from onnxsqueeze.groups.value import Step, Value
from onnxsqueeze.model.graphs import domain

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

_PLACES = (
    "Identity Cast Dropout Transpose Reshape Flatten Squeeze Unsqueeze Concat Split Slice Gather Expand Tile "
    "AveragePool GlobalAveragePool MaxPool GlobalMaxPool Pad Resize Upsample ReduceMean ReduceMax "
    "DepthToSpace SpaceToDepth BatchNormalization"
)
PLACES = frozenset(_PLACES.split())
"""Operators that take values elsewhere, or the mean or largest of some: their size is about the same behind them."""


def _clip(step: Step) -> Function:
    low, high = (_scalar(step, position, name) for position, name in ((1, "min"), (2, "max")))
    return lambda x: np.clip(x, low, high)


def _scalar(step: Step, position: int, name: str) -> float | None:
    value = step.inputs[position] if position < len(step.inputs) else None
    found = None if value is None else number(value)
    return step.attributes.get(name) if found is None else found


def _leaky(step: Step) -> Function:
    slope = step.attributes.get("alpha", 0.01)
    return lambda x: np.where(x > 0, x, slope * x)


def _hard_sigmoid(step: Step) -> Function:
    alpha, beta = step.attributes.get("alpha", 0.2), step.attributes.get("beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0, 1)


def _elu(step: Step) -> Function:
    alpha = step.attributes.get("alpha", 1.0)
    return lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _plain(function: Function) -> Callable[[Step], Function]:
    return lambda step: function


FUNCTIONS: dict[str, Callable[[Step], Function]] = {
    "Relu": _plain(lambda x: np.maximum(x, 0)),
    "LeakyRelu": _leaky,
    "Clip": _clip,
    "Sigmoid": _plain(special.expit),
    "Tanh": _plain(np.tanh),
    "Erf": _plain(special.erf),
    "Gelu": _plain(lambda x: x * special.ndtr(x)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Elu": _elu,
    "Softplus": _plain(lambda x: np.logaddexp(x, 0)),
    "Abs": _plain(np.abs),
    "Neg": _plain(np.negative),
}
PAIRS: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}


def number(value: Value) -> float | None:
    """A constant of one element."""
    held = value.contents
    if held is None or held.size != 1 or value.tensor is None:
        return None
    found = held.reshape(-1)[0]
    return float(found) if isinstance(found, float) else None


def function_of(groups: Groups, group: Group, start: Value) -> Function | None:
    """What is done to a value before the group's weights read it; None where that is not one function for all."""
    known: dict[int, Function] = {id(start): lambda x: x}
    readers = {number for member in group.of("consumer") for number in member.steps}
    read: dict[int, Function] = {}
    for index in group.steps:
        step = groups.trace.steps[index]
        given = [value for value in step.inputs if value is not None and id(value) in known]
        if index in readers:
            read.update({id(value): known[id(value)] for value in given})
            continue
        if not given:
            continue
        made = _behind(step, known)
        if made is None:
            return None
        known.update({id(value): made for value in step.outputs})
    functions = set(read.values())
    return functions.pop() if len(functions) == 1 else None


def _behind(step: Step, known: dict[int, Function]) -> Function | None:
    """The function up to the outputs of a node; None where it is none of a single value."""
    kind, inputs = step.node.op_type, step.inputs
    inner = [None if value is None else known.get(id(value)) for value in inputs]
    if domain(step.node) != "":
        return None
    if kind in PLACES:
        return next(f for f in inner if f is not None)
    if kind in FUNCTIONS and inner[0] is not None:
        outer, before = FUNCTIONS[kind](step), inner[0]
        return lambda x: outer(before(x))
    if kind in PAIRS and len(inputs) == 2:
        return _pair(PAIRS[kind], step, inner)
    return None


def _pair(operation: Callable[[Array, Array], Array], step: Step, inner: list[Function | None]) -> Function | None:
    parts: list[Function] = []
    for value, function in zip(step.inputs, inner, strict=True):
        constant = None if value is None else number(value)
        if function is not None:
            parts.append(function)
        elif constant is not None:
            parts.append(lambda x, constant=constant: np.full_like(x, constant))  # type: ignore[misc]
        else:
            return None
    return lambda x: operation(parts[0](x), parts[1](x))
