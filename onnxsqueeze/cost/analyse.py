"""From a model to its workload."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from onnx import ModelProto

from onnxsqueeze.cost.workload import Workload
from onnxsqueeze.model import Model


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
    raise NotImplementedError
