"""From a model to its workload."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto

from onnxsqueeze.cost import constants
from onnxsqueeze.cost.inputs import Input, guesses, is_static
from onnxsqueeze.cost.nodes import node_works, work_of_step
from onnxsqueeze.cost.values import Value, tensor_type
from onnxsqueeze.cost.walk import Misfit, Walk
from onnxsqueeze.cost.workload import Workload
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import Model
from onnxsqueeze.model.dense import file_nbytes
from onnxsqueeze.model.load import from_path


def analyse(
    model: str | os.PathLike[str] | Model | ModelProto, shapes: Mapping[str, Sequence[int] | int] | None = None
) -> Workload:
    """The work and data of every node of a model, packed or not, for one shape of its inputs.

    Args:
        model: the ``.onnx`` file, or a model in memory; it is not changed, and large weights are not copied.
        shapes: sizes of inputs, by input name (``{"x": (1, 3, 48, 320)}``), or of dynamic axes by the name that
            the model gives them (``{"batch": 1}``). What is open gets a default: 1 for batches, 224 for the sides of
            images, 64 for other axes, or the first of a list of usual sizes that the model accepts.

    Raises:
        ModelError: the model is not valid, or the shapes do not fit it.
    """
    view, name, nbytes = _opened(model)
    walk, inputs = _walked(view, shapes or {})
    weights = constants.weights(view, walk)
    nodes = node_works(walk.steps, weights)
    return Workload(
        name,
        {item.name: item.shape for item in inputs},
        (*(text for item in inputs for text in item.assumed), *walk.assumed),
        tuple(nodes),
        tuple(constants.with_nodes(weights, nodes)),
        _uncovered(nodes),
        nbytes,
    )


def _opened(model: Any) -> tuple[Model, str, int]:
    if isinstance(model, Model):
        return model, "", 0
    if isinstance(model, ModelProto):
        return Model(model), "", 0
    path = Path(model)
    proto, folder = from_path(path)
    return Model(proto, folder), path.name, file_nbytes(path, proto)


def _walked(model: Model, shapes: Mapping[str, Sequence[int] | int]) -> tuple[Walk, list[Input]]:
    """The walk with the first sizes that fit; where none do, with the first ones, as far as shapes can be told."""
    proto, static = model.proto, is_static(model.proto)

    def read(tensor: TensorProto) -> Any:
        return model.read(tensor)

    first: list[Input] = []
    misfit = ""
    for inputs in guesses(proto, shapes):
        first = first or inputs
        walk = Walk(proto, read, work_of_step, static)
        try:
            walk.run(proto.graph, _bound(inputs))
            return walk, inputs
        except Misfit as error:
            misfit = misfit or str(error)
    if shapes and not any(item.assumed for item in first):
        raise ModelError(f"the shapes do not fit the model: {misfit}")
    walk = Walk(proto, read, work_of_step, static, lenient=True)
    walk.run(proto.graph, _bound(first))
    return walk, first


def _bound(inputs: list[Input]) -> dict[str, Value]:
    return {item.name: Value(item.name, tensor_type(item.dtype, item.shape)) for item in inputs}


def _uncovered(nodes: list[Any]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for node in nodes:
        if node.status == "uncovered":
            found.setdefault(f"{node.domain + '.' if node.domain else ''}{node.op}", node.name)
    return tuple(f"{op} ({name})" for op, name in found.items())
