"""Values put on a codebook so that the layer's outputs, not the values, move least (Frantar et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Sharing
from onnxsqueeze.encode.indices import reconstruct, row_chunks, scale_slice
from onnxsqueeze.passes.bounds import FAINTEST
from onnxsqueeze.passes.surgeon import DAMPING, MANY, Change, Factors, compensate, compensate_groups, output_error
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer
    from onnxsqueeze.encode import Scale
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

    if len(layer.moments.matrices) >= MANY:
        matrix = layer.reading.matrix(values.astype(np.float32))
        uppers = np.stack([factors.upper for _, _, factors in surgery.parts(layer, matrix)])
        made = _together(matrix, uppers, codebook, middles, scales, zero)
        worse = _energy(layer, nearest - matrix) < _energy(layer, made - matrix)
        rounded = np.where(worse[:, :, None], nearest, made)
        return _exact(layer.reading.restore(rounded), values, sharing, middles)

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


def _together(weights: Array, uppers: Array, codebook: Array, middles: Array, scales: Array, zero: Array) -> Array:
    """Many small groups at once: all [groups, outputs, inputs], but for ``uppers`` [groups, inputs, inputs]."""
    made = np.empty(weights.shape, np.float32)

    def change(j: int, now: Array) -> Array:
        own = scales[:, :, j]
        indices = native.assign(np.ascontiguousarray((now / own).reshape(-1)), middles).reshape(now.shape)
        made[:, :, j] = np.where(zero[:, :, j], 0, codebook[indices] * own)
        return made[:, :, j]

    compensate_groups(weights, uppers, change)
    return made


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


def relative_output_error(layer: Layer, values: Array, changed: Array) -> float:
    """Root mean square over the outputs of how far each moves, over its own standard deviation."""
    original = layer.reading.matrix(values.astype(np.float32))
    moved = _energy(layer, layer.reading.matrix(changed.astype(np.float32)) - original)
    return float(np.sqrt(np.mean(np.maximum(moved, 0) / _variances(layer, original))))


def importances(layer: Layer, values: Array, scale: Scale | None) -> Array:
    """What the squared error of each value over its scale adds to the square of ``relative_output_error``, errors being
    independent: float32, flat.

    The second moment of the value's input (Optimal Brain Damage's diagonal) over the variance of its output; inputs
    never seen count as faint, not as absent.
    """
    power = layer.moments.diagonal
    power = power + DAMPING * power.mean(axis=1, keepdims=True)
    variances = _variances(layer, layer.reading.matrix(values.astype(np.float32)))
    matrix = power[:, None, :] / (variances.size * variances[:, :, None])
    found = layer.reading.restore(np.maximum(matrix, 1e-30).astype(np.float32))
    return (found if scale is None else found * np.square(scale.broadcast(values.ndim))).reshape(-1)


def _variances(layer: Layer, original: Array) -> Array:
    """Of each output that weights [groups, outputs, inputs] make: float64 [groups, outputs], none of them zero."""
    means = np.matmul(original, layer.moments.means[:, :, None].astype(np.float64))[:, :, 0]
    power = _energy(layer, original) - np.square(means)
    least = max(FAINTEST**2 * float(power.max(initial=0)), 1e-60)
    variances: Array = np.maximum(power, least)
    return variances


def _energy(layer: Layer, matrix: Array) -> Array:
    """E[(w x)²] of each output that weights [groups, outputs, inputs] make: float64 [groups, outputs]."""
    matrices = layer.moments.matrices
    width, found = matrices.shape[2], np.zeros(matrix.shape[:2])
    for block in range(matrices.shape[1]):
        part = matrix[:, :, block * width : (block + 1) * width]
        found += np.einsum("goi,goi->go", np.matmul(part, matrices[:, block]), part, dtype=np.float64)
    return found
