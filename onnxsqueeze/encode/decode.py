"""The native decoder: a weight put together by the C++ library (FORMAT.md, section 4)."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.names import INPUT_TYPES, spec_of
from onnxsqueeze.errors import FormatError
from onnxsqueeze.runtime import node


def decode(encoded: Encoded, threads: int = 1) -> npt.NDArray[Any]:
    """The weight, dense, in its shape and type; raises FormatError on any state that FORMAT.md forbids."""
    try:
        flat = node.decode(*_parts(encoded), threads)
    except FormatError as error:
        raise FormatError(f"packed weight is corrupt: {error}") from error
    return flat.reshape(encoded.attributes["shape"])


def choose_kernel(encoded: Encoded, feeds: str, rows: int, groups: int, kernel: str, profile: str) -> str:
    """The kernel that would run the weight packed, or "": see ``onnxsqueeze.runtime.node.choose_kernel``."""
    return node.choose_kernel(*_parts(encoded), feeds, rows, groups, kernel, profile)


def _parts(encoded: Encoded) -> tuple[str, dict[str, list[int]], list[npt.NDArray[Any]]]:
    """Operator, attributes and inputs of the node."""
    names = spec_of(encoded.op_type).inputs
    for name in names:
        array = encoded.inputs.get(name)
        if array is None or array.ndim != 1 or array.dtype.name not in INPUT_TYPES[name]:
            raise FormatError(f"packed weight is corrupt: input '{name}' is missing or no vector of its type")
    attributes = encoded.attributes | ({"to": [encoded.to]} if encoded.to else {})
    return encoded.op_type, attributes, [encoded.inputs[name] for name in names]
