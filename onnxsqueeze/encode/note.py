"""What a pass knows about a weight beyond its dense values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scale:
    """A positive factor per channel, drawn from a small table: ``table[codes[channel]]``."""

    axis: int
    table: Floats  # [1 … 256], finite, > 0
    codes: npt.NDArray[np.uint8]  # [channels]

    def broadcast(self, ndim: int) -> Floats:
        """The factors, shaped to multiply a weight of ``ndim`` dimensions."""
        shape = [1] * ndim
        shape[self.axis] = len(self.codes)
        return self.table[self.codes].reshape(shape)


@dataclass(frozen=True, eq=False)
class Sharing:
    """Every value of the weight is ``codebook[i] * scale``, or zero.

    The indices are not kept: the dense values are the one truth, and encoding finds the indices again.
    """

    codebook: Floats  # [1 … 256], sorted, finite
    scale: Scale | None = None


@dataclass(frozen=True)
class Pattern:
    """N:M sparsity: of every ``group`` neighbours along ``axis`` at most ``kept`` are not zero."""

    kept: int
    group: int
    axis: int


@dataclass(frozen=True, eq=False)
class Note:
    """The annotations of one weight; the values are in the model."""

    sharing: Sharing | None = None
    pattern: Pattern | None = None
    entropy: bool = False  # entropy coding is allowed
