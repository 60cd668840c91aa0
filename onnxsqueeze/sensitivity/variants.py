"""What a weight becomes at a sparsity or on a codebook: the same as ``prune`` and ``share`` make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Note, Sharing, best_plan
from onnxsqueeze.passes.criteria import Surgery, measurable
from onnxsqueeze.passes.rounding import carried
from onnxsqueeze.passes.share import on_codebook

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer

Array = npt.NDArray[Any]

SPARSITIES = tuple(i / 10 for i in range(10))
BITS = tuple(range(2, 9))


class Variants:
    """One weight, and what flows into it where that is known: then what stays makes up for what goes."""

    def __init__(self, values: Array, channel_axis: int | None, layer: Layer | None, seed: int) -> None:
        self._values, self._axis, self._seed = values, channel_axis, seed
        self._layer = layer if layer is not None and measurable(layer) else None
        self._surgery = Surgery()

    @property
    def criterion(self) -> str:
        """What tells which weights go: obs (Optimal Brain Surgeon) or magnitude."""
        return "magnitude" if self._layer is None else "obs"

    def sparse(self, sparsity: float) -> tuple[Array, int]:
        """That share of the weight is zero; and the bytes that it takes."""
        if not sparsity:
            return self._values, self._nbytes(self._values, None)
        if self._layer is not None:
            values = self._surgery.sparse(self._layer, self._values, sparsity)
        else:
            values = _without_smallest(self._values, sparsity)
        return values, self._nbytes(values, None)

    def shared(self, bits: int) -> tuple[Array, int]:
        """On a codebook of 2**bits values, with a scale by channel where that is closer; and the bytes it takes."""
        found = on_codebook(self._values, self._axis, bits, self._seed)
        if found is None:  # all zero
            return self._values, self._nbytes(self._values, None)
        values, sharing = found
        if self._layer is not None:
            values = carried(self._surgery, self._layer, self._values, sharing, values)
        return values, self._nbytes(values, sharing)

    def _nbytes(self, values: Array, sharing: Sharing | None) -> int:
        plan = best_plan(values, Note(sharing, None, True))
        return values.nbytes if plan is None else min(plan.nbytes, values.nbytes)


def _without_smallest(values: Array, sparsity: float) -> Array:
    sizes = np.abs(values.reshape(-1).astype(np.float32))
    changed = values.copy()
    changed.reshape(-1)[np.argsort(sizes, kind="stable")[: int(sparsity * sizes.size)]] = 0
    return changed
