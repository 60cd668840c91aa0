"""Verification without running: what lies in a file, against what was meant to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import TensorProto, helper

from onnxsqueeze.errors import FormatError
from onnxsqueeze.model import Model
from onnxsqueeze.pipeline.unpack import unpack

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto

    from onnxsqueeze.model.graphs import Scope


def digest(values: npt.NDArray[Any]) -> str:
    """Fingerprint of type, shape and bits."""
    return f"{values.dtype}{list(values.shape)} " + hashlib.sha256(values.tobytes()).hexdigest()


def digests(model: Model) -> dict[str, str]:
    """The fingerprint of every weight."""
    return {weight.name: digest(weight.values()) for weight in model.weights()}


def decode_all(path: Path) -> dict[str, str]:
    """The fingerprint of every packed weight of a file, one decoded at a time; raises where one is corrupt."""
    model = Model.load(path)
    found: dict[str, str] = {}

    def hold(scope: Scope, name: str, weight: npt.NDArray[Any]) -> TensorProto:
        found[f"{scope.path}/{name}" if scope.path else name] = digest(weight)
        return helper.make_tensor(name, TensorProto.FLOAT, [0], [])

    if model.is_packed:
        unpack(model, hold=hold)
    return found


def check_file(path: Path, expected: Mapping[str, str]) -> int:
    """Decodes every packed weight of a file and compares it with its fingerprint; returns their number."""
    found = decode_all(path)
    for name, value in found.items():
        if expected.get(name) != value:
            raise FormatError(f"weight '{name}' does not come back from the file; please report this")
    return len(found)


def signature_of(model: ModelProto) -> tuple[list[bytes], list[bytes]]:
    """Inputs that must be fed, and outputs, as they are declared."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return (
        [v.SerializeToString(deterministic=True) for v in model.graph.input if v.name not in constants],
        [v.SerializeToString(deterministic=True) for v in model.graph.output],
    )
