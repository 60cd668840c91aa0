"""What a weight becomes at a sparsity or at some bits: the same as ``prune`` and ``allocate`` make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Note, Sharing, best_plan
from onnxsqueeze.passes.clusters import entropy_bits
from onnxsqueeze.passes.criteria import Surgery, measurable
from onnxsqueeze.passes.granularity import all_but_smallest
from onnxsqueeze.passes.quantizer import Inputs, Quantized, Quantizer
from onnxsqueeze.passes.rate_distortion import MEASURED, OCTAVES, TRIED

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer

Array = npt.NDArray[Any]

SPARSITIES = tuple(i / 10 for i in range(10))
BITS = tuple(range(2, 9))


class Variants:
    """One weight, and what flows into it where that is known: then what stays makes up for what goes."""

    def __init__(self, values: Array, channel_axis: int | None, layer: Layer | None) -> None:
        self._values = values
        self._layer = layer if layer is not None and measurable(layer) else None
        self._surgery = Surgery()
        known = layer is not None and layer.moments.matrices.size > 0
        inputs = Inputs.of(layer.reading, layer.moments) if layer is not None and known else None
        self._quantizer = Quantizer(values, channel_axis, inputs)
        places = range(len(self._quantizer.scales))
        self._curves = [curve for place in places if (curve := _curve(self._quantizer, place))]

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

    def coarse(self, bits: int) -> tuple[Array, int]:
        """On the closest grid whose indices hold at most so many bits of entropy each; and the bytes it takes."""
        found = min((grid for curve in self._curves if (grid := curve.closest(bits))), default=None)
        quantized = None if found is None else self._quantizer.at(found[1], self._quantizer.scales[found[2]])
        if quantized is None:  # no grid, or one between two that would have done
            return self._values, self._nbytes(self._values, None)
        return quantized.values, self._nbytes(quantized.values, quantized.sharing)

    def _nbytes(self, values: Array, sharing: Sharing | None) -> int:
        plan = best_plan(values, Note(sharing, None, True))
        return values.nbytes if plan is None else min(plan.nbytes, values.nbytes)


@dataclass(frozen=True, eq=False)
class _Curve:
    """Bits and error of one weight over the finenesses of its grid."""

    scale: int  # place among the quantizer's scales
    logs: Array  # [points]: log2 of the fineness, rising
    bits: Array  # [points]: entropy of an index
    errors: Array  # [points]

    def closest(self, bits: float) -> tuple[float, float, int] | None:
        """Error, fineness and scale of the finest grid within so many bits, interpolated; of the coarsest, if none."""
        logs = np.linspace(self.logs[0], self.logs[-1], int((self.logs[-1] - self.logs[0]) * TRIED) + 1)
        fits = np.interp(logs, self.logs, self.bits) <= bits
        place = int(fits.argmax()) if fits.any() else len(logs) - 1
        error = float(np.interp(logs[place], self.logs, self.errors))
        return error, float(np.exp2(logs[place])), self.scale


def _curve(quantizer: Quantizer, place: int) -> _Curve | None:
    low, high = OCTAVES
    rows = []
    for log in np.arange(round(low * MEASURED), round(high * MEASURED) + 1) / MEASURED:
        found = quantizer.at(float(np.exp2(log)), quantizer.scales[place])
        if found is not None:
            rows.append((log, _entropy(found), found.error))
    return _Curve(place, *np.array(rows).T) if rows else None


def _entropy(found: Quantized) -> float:
    """Bits of an index."""
    codebook, scale = found.sharing.codebook, found.sharing.scale
    normal = found.values if scale is None else found.values / scale.broadcast(found.values.ndim)
    middles = (codebook[1:] + codebook[:-1]) / 2
    counts = np.bincount(np.searchsorted(middles, normal.reshape(-1)))
    return entropy_bits(counts[counts > 0]) / found.values.size


def _without_smallest(values: Array, sparsity: float) -> Array:
    sizes = np.abs(values.reshape(-1).astype(np.float32))
    keep = all_but_smallest(sizes, int(sparsity * sizes.size)).reshape(values.shape)
    return np.where(keep, values, 0).astype(values.dtype)
