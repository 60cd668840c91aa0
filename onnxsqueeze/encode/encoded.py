"""One packed weight: what becomes a node, its inputs and its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Bytes that a node, a tensor or an attribute takes in the file beside its contents (names, tags, lengths).
NODE_BYTES, TENSOR_BYTES, ATTRIBUTE_BYTES = 40, 24, 12


@dataclass(frozen=True, eq=False)
class Encoded:
    """A weight as operator ``op_type`` of the domain, with inputs and attributes named as in FORMAT.md."""

    op_type: str
    inputs: dict[str, npt.NDArray[Any]]
    attributes: dict[str, list[int]]
    to: int = 0  # attribute ``to`` where op_type ends in _C

    @property
    def payload_nbytes(self) -> int:
        """Bytes of all inputs."""
        return int(sum(a.nbytes for a in self.inputs.values()))

    @property
    def nbytes(self) -> int:
        """Bytes in the file, names and attributes included (close, not exact)."""
        attributes = sum(_varints(v) + ATTRIBUTE_BYTES for v in self.attributes.values())
        return self.payload_nbytes + TENSOR_BYTES * len(self.inputs) + attributes + NODE_BYTES


def _varints(values: list[int]) -> int:
    return sum(1 + max(1, (int(v).bit_length() + 6) // 7) for v in values)


def element_count(encoded: Encoded) -> int:
    """Number of elements of the decoded weight."""
    return int(np.prod(encoded.attributes["shape"], dtype=np.int64))
