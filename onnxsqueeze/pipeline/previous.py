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


LONGEST = 256  # entries of a codebook


@dataclass(frozen=True)
class Previous:
    """The weights of the previous version, by name: packed ones, and others, which may yet be shared."""

    weights: Mapping[str, Encoded]
    others: Mapping[str, Weight]

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
        return Previous(_packed(model), {weight.name: weight for weight in model.weights(1)})

    def values(self, weight: Weight) -> Array | None:
        """The old weight of the same name, shape and type, dense; None where there is none."""
        encoded, other = self.weights.get(weight.name), self.others.get(weight.name)
        if encoded is not None and tuple(encoded.attributes["shape"]) == weight.shape:
            values = decode(encoded)
        elif encoded is None and other is not None and other.shape == weight.shape:
            values = other.values()
        else:
            return None
        return values if values.dtype == weight.dtype else None

    def indexed(self, weight: Weight) -> Indexed | None:
        """The old weight's codebook, without unused entries, its scale, and the index of each element."""
        values, encoded = self.values(weight), self.weights.get(weight.name)
        if values is None:
            return None
        if encoded is None:  # shared, maybe, though packing it did not pay
            codebook: Array | None = np.unique(values).astype(np.float32)
        else:
            codebook = encoded.inputs.get("codebook")
        if codebook is None or len(codebook) > LONGEST or not np.isfinite(codebook).all():
            return None
        return from_sharing(values, Sharing(np.unique(codebook), None if encoded is None else _scale(encoded)))


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
