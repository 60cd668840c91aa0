"""The previous version of a model, compressed: what the next one may keep, so that an update of it is small."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Encoded, Scale, Sharing
from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.indices import Indexed, from_sharing
from onnxsqueeze.encode.nodes import from_node
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.graphs import walk
from onnxsqueeze.pipeline.stamp import is_inlined
from onnxsqueeze.pipeline.unpack import check_version

if TYPE_CHECKING:
    from onnxsqueeze.model import Model, Weight

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Previous:
    """The packed weights of the previous version, by name."""

    weights: Mapping[str, Encoded]

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Previous:
        """Reads a compressed model; raises SqueezeError where it is none."""
        from onnxsqueeze.model import Model

        model = Model.load(Path(path))
        if is_inlined(model):
            raise ModelError(f"'{path}' was written with --inline: its packed weights can no longer be recognised")
        if not model.is_packed:
            raise ModelError(f"'{path}' holds no packed weights; give the compressed model that is installed")
        check_version(model)
        return Previous(_packed(model))

    def values(self, weight: Weight) -> Array | None:
        """The old weight of the same name, shape and type, dense; None where there is none."""
        encoded = self.weights.get(weight.name)
        if encoded is None or tuple(encoded.attributes["shape"]) != weight.shape:
            return None
        values = decode(encoded)
        return values if values.dtype == weight.dtype else None

    def indexed(self, weight: Weight) -> Indexed | None:
        """The old weight's codebook, without unused entries, its scale, and the index of each element."""
        values = self.values(weight)
        codebook = self.weights[weight.name].inputs.get("codebook") if values is not None else None
        if values is None or codebook is None or not np.isfinite(codebook).all():
            return None
        return from_sharing(values, Sharing(np.unique(codebook), _scale(self.weights[weight.name])))


def _packed(model: Model) -> dict[str, Encoded]:
    found: dict[str, Encoded] = {}
    for scope in walk(model.proto):
        tensors = {t.name: t for t in scope.graph.initializer}

        def read(name: str, tensors: Mapping[str, Any] = tensors) -> Array | None:
            return model.read(tensors[name]) if name in tensors else None

        for node in scope.graph.node:
            if node.domain == DOMAIN:
                name = node.output[0]
                found[f"{scope.path}/{name}" if scope.path else name] = from_node(node, read)
    return found


def _scale(encoded: Encoded) -> Scale | None:
    if "scales" not in encoded.inputs:
        return None
    axis = int(np.argmax(encoded.attributes["scale_shape"]))
    return Scale(axis, encoded.inputs["scales"], encoded.inputs["channels"])
