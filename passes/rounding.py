"""Values put on a codebook so that the layer's outputs, not the values, move least (Frantar et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Sharing
from onnxsqueeze.encode.indices import reconstruct, row_chunks, scale_slice
from onnxsqueeze.passes.bounds import FAINTEST
from onnxsqueeze.passes.surgeon import Change, Factors, compensate, output_error
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer
    from onnxsqueeze.passes.criteria import Surgery

Array = npt.NDArray[Any]


def carried(surgery: Surgery, layer: Layer, values: Array, sharing: Sharing, plain: Array) -> Array:
    """The weight on its codebook, each rounding error carried to the inputs not yet rounded; zeros stay zero.

    ``plain``: every value on its nearest codebook entry, kept for the outputs that this serves better.
    """
    codebook = sharing.codebook
    middles = ((codebook[1:].astype(np.float64) + codebook[:-1]) / 2).astype(np.float32)
    scale = np.ones((), np.float32) if sharing.scale is None else sharing.scale.broadcast(values.ndim)
    scales = layer.reading.matrix(np.broadcast_to(scale, values.shape))
    zero, nearest = layer.reading.matrix(values == 0), layer.reading.matrix(plain.astype(np.float32))

    def operate(weights: Array, place: tuple[int, Array], factors: Factors) -> Array:
        group, inputs = place
        own, gone = (np.ascontiguousarray(of[group][:, inputs].T) for of in (scales, zero))

        def change(j: int, now: Array) -> Array:
            rounded = codebook[native.assign(now / own[j], middles)] * own[j]
            return np.where(gone[j], 0, rounded)

        def plan(start: int, columns: Array) -> Change:
            return change

        made, other = compensate(weights, factors.upper, plan), nearest[group][:, inputs]
        worse = output_error(other - weights, factors) < output_error(made - weights, factors)
        return np.where(worse[:, None], other, made)

    return _exact(surgery.each(layer, values, operate), values, sharing, middles)


def _exact(rounded: Array, values: Array, sharing: Sharing, middles: Array) -> Array:
    """Float32 values on the codebook as decoding makes them, in the weight's type."""
    result = np.empty_like(values)
    for rows in row_chunks(values.shape):
        block = rounded[rows]
        normal = block if sharing.scale is None else block / scale_slice(sharing.scale, values.ndim, rows)
        indices = native.assign(normal.astype(np.float32, copy=False).reshape(-1), middles).reshape(block.shape)
        shared = reconstruct(sharing.codebook, indices, sharing.scale, rows, values.dtype)
        result[rows] = np.where(values[rows] == 0, 0, shared)
    return result


def relative_output_error(surgery: Surgery, layer: Layer, values: Array, changed: Array) -> float:
    """Root mean square over the outputs of how far each moves, over its own standard deviation."""
    original = layer.reading.matrix(values.astype(np.float32))
    change = layer.reading.matrix(changed.astype(np.float32)) - original
    moved = np.zeros(original.shape[:2])
    power = np.zeros(original.shape[:2])
    means = layer.moments.means
    for group, inputs, factors in surgery.parts(layer, original):
        weights = original[group][:, inputs]
        moved[group] += output_error(change[group][:, inputs], factors)
        mean = means[min(group, len(means) - 1), inputs]
        power[group] += output_error(weights, factors) - np.square(weights.astype(np.float64) @ mean)
    least = max(FAINTEST**2 * float(power.max(initial=0)), 1e-60)
    return float(np.sqrt(np.mean(np.maximum(moved, 0) / np.maximum(power, least))))
