"""Multiply-accumulates and parameters of a model, and what is left of them when channels go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from onnxsqueeze.groups.channels import Labels
from onnxsqueeze.groups.group import Groups
from onnxsqueeze.groups.remove import Gone
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Axis, Step, Value
from onnxsqueeze.groups.walk import walk

PICTURE, SEQUENCE = 224, 64  # sizes of free axes where nothing is known of them
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Work:
    """One product: how much it is, and which channels it is proportional to."""

    step: int
    amount: float
    labels: tuple[Labels, ...]


@dataclass(frozen=True, eq=False)
class Totals:
    """Everything that a model computes and holds."""

    groups: Groups
    macs: tuple[Work, ...]
    parameters: tuple[Work, ...]

    def left(self, removed: Mask) -> tuple[float, float]:
        """The shares of multiply-accumulates and of parameters that are left when these units go."""
        gone = Gone(self.groups, removed)
        known: dict[int, float] = {}

        def share(labels: Labels) -> float:
            if id(labels) not in known:
                known[id(labels)] = float(gone.keep(labels).mean())
            return known[id(labels)]

        shares = []
        for works in (self.macs, self.parameters):
            left = sum(work.amount * math.prod(map(share, work.labels)) for work in works)
            shares.append(left / max(sum(work.amount for work in works), 1e-30))
        return shares[0], shares[1]


def totals(groups: Groups, sizes: Mapping[str, int] | None = None) -> Totals:
    """Counts the products of the model (convolutions, matrix products, recurrences) and its constant floats.

    ``sizes``: of free axes, by name or as ``input[axis]``; without, one sample, 224 pixels, sequences of 64.
    """
    sizes = guessed(groups.model.proto) if sizes is None else sizes
    sized = walk(groups.model, groups.trace.choices, sizes).steps
    macs = []
    for step in groups.trace.steps:
        same = step.number < len(sized) and sized[step.number].node is step.node
        for product, measured in zip(_products(step), _products(sized[step.number] if same else step), strict=False):
            labels = tuple(axis.labels for axis in product if axis.labels is not None)
            macs.append(Work(step.number, math.prod(_number(axis.size) for axis in measured), labels))
    return Totals(groups, tuple(macs), tuple(_parameters(groups)))


def guessed(model: ModelProto) -> dict[str, int]:
    """Sizes of the free axes of the inputs."""
    sizes: dict[str, int] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for place, dim in enumerate(dims):
            if not (dim.HasField("dim_value") and dim.dim_value > 0):
                name = dim.dim_param or f"{value.name}[{place}]"
                sizes.setdefault(name, 1 if place == 0 and len(dims) > 1 else PICTURE if len(dims) == 4 else SEQUENCE)
    return sizes


def measured(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Sizes of the free axes as given inputs have them."""
    sizes = guessed(model)
    for value in model.graph.input:
        for place, (dim, size) in enumerate(
            zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False)
        ):
            sizes[dim.dim_param or f"{value.name}[{place}]"] = size
    return sizes


def _number(size: Size) -> int:
    return size.factor if size.known else 1


def _products(step: Step) -> list[list[Axis]]:
    """For each product of a node the axes over whose positions it runs."""
    outputs = step.outputs[0].axes if step.outputs else None
    inputs = [value.axes if value is not None else None for value in step.inputs]
    if outputs is None or len(inputs) < 2 or inputs[0] is None or inputs[1] is None:
        return []
    kind = step.node.op_type
    if kind in ("Conv", "FusedConv"):
        return [[outputs[0], *outputs[2:], *inputs[1]]]
    if kind == "ConvTranspose":
        return [[inputs[0][0], *inputs[0][2:], *inputs[1]]]
    if kind == "MatMul" and inputs[0]:
        return [[*outputs, inputs[0][-1]]]
    if kind in ("Gemm", "FusedGemm"):
        return [[*outputs, inputs[0][0 if step.attributes.get("transA") else 1]]]
    if kind in ("LSTM", "GRU", "RNN") and len(inputs) > 2 and inputs[2] is not None:
        return [[*inputs[0][:2], *inputs[1]], [*inputs[0][:2], *inputs[2]]]
    if kind == "Einsum":
        return [_einsum(step)]
    return []


def _einsum(step: Step) -> list[Axis]:
    axes: dict[str, Axis] = {}
    terms = step.attributes["equation"].replace(" ", "").partition("->")[0].split(",")
    for term, value in zip(terms, step.inputs, strict=False):
        if isinstance(value, Value) and value.axes is not None:
            for letter, axis in zip(term, value.axes, strict=False):
                if letter not in axes or axes[letter].one:
                    axes[letter] = axis
    return list(axes.values())


def _parameters(groups: Groups) -> list[Work]:
    counts = dict(groups.trace.channels.vectors)
    axes: dict[tuple[int, str], dict[int, Labels]] = {}
    for first, slot in groups.trace.slots.items():
        labels = np.arange(first, first + counts[first])[:, None]
        axes.setdefault((slot.scope, slot.name), {})[slot.axis] = labels
    constants = groups.trace.constants
    return [Work(-1, math.prod(constants[place].dims), tuple(found.values())) for place, found in axes.items()]
