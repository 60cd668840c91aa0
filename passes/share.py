"""Weight sharing: the values of a tensor become a few, kept in a codebook (Han, Mao and Dally 2016, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.collect import layers
from onnxsqueeze.encode import Note, Scale, Sharing
from onnxsqueeze.encode.indices import reconstruct, row_chunks, scale_slice
from onnxsqueeze.errors import PassError
from onnxsqueeze.passes import clusters
from onnxsqueeze.passes.bounds import channel_squares, choices, error_bounds, in_range, packable, relative_error
from onnxsqueeze.passes.criteria import Surgery, measurable
from onnxsqueeze.passes.keep import move_in_steps, on_old_codebook
from onnxsqueeze.passes.rounding import carried, importances, relative_output_error
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
Data = tuple["Surgery", "Layer"]  # what calibration inputs tell of a weight

TIGHTEST = 0.015  # what 255 values reach on long-tailed tensors
ATTEMPTS = 4  # at an error bound, which the search meets on average over the channels only
LOOSER = 3.0  # times the bound on outputs' errors that weights' may grow to
SCALE_STEPS = 2  # scales are powers of two to the 1/SCALE_STEPS


@dataclass(frozen=True)
class Share:
    """Weight sharing by 1-D k-means. With `bits`: 2**bits values a tensor; else the fewest coded bits within `error`.

    `error` bounds the whole model: tensor t of n_t weights may have a relative error of error * sqrt(n_t / N),
    measured per output channel and averaged (root mean square), so that the squares add up to error**2;
    bounds below 0.015 are raised to it. With calibration inputs the errors are those of the layers' outputs: in k-means
    each value counts by the second moment of its input, and `feedback` carries what rounding a value costs over to
    values not yet rounded (GPTQ), layer by layer.
    """

    bits: int | None = None
    error: float = 0.18
    init: str = "linear"
    scale: str = "auto"
    feedback: bool | None = None
    minimum: int = 256

    def __post_init__(self) -> None:
        in_range("bits", self.bits, 1, 8)
        in_range("error", self.error, 0, 1)
        in_range("minimum", self.minimum, 1, None)
        choices("init", self.init, ("linear", "density", "random"))
        choices("scale", self.scale, ("auto", "channel", "none"))

    def __call__(self, model: Model, context: Context) -> int:
        weights = packable(model, self.minimum, context)
        bounds = error_bounds([w.size for w in weights], self.error, TIGHTEST)
        entropy = "huffman" in context.following
        jobs = list(zip(weights, bounds, strict=True))
        changed = self._with_data(model, jobs, entropy, context) if self._needs_data(context) else {}
        left = [job for job in jobs if job[0].name not in changed]

        def work(job: tuple[Weight, float]) -> bool:
            weight, bound = job
            return self._share(weight, bound, entropy, context)

        shared = sum(changed.values()) + sum(context.each("share", work, left, lambda job: job[0].name))
        return shared + (move_in_steps(model, context.previous) if context.previous is not None else 0)

    def _needs_data(self, context: Context) -> bool:
        if self.feedback and not context.calibration:
            raise PassError("share: feedback needs calibration inputs; give some with --calibration")
        return bool(context.calibration) and context.previous is None and self.feedback is not False

    def _with_data(
        self, model: Model, jobs: list[tuple[Weight, float]], entropy: bool, context: Context
    ) -> dict[str, bool]:
        """Shares layer after layer, each on what the ones before, shared already, feed it; whether each changed."""
        of, surgery = {weight.name: (weight, bound) for weight, bound in jobs}, Surgery()
        changed: dict[str, bool] = {}
        for stage in layers(model, context.calibration or (), set(of), context.jobs, context.progress, "share"):
            for layer in (layer for layer in stage if measurable(layer, None)):
                changed[layer.name] = self._share(*of[layer.name], entropy, context, (surgery, layer))
        return changed

    def _share(self, weight: Weight, bound: float, entropy: bool, context: Context, data: Data | None = None) -> bool:
        values = weight.values()
        if data is None:
            found = self._found(weight, values, bound, entropy, context)
        else:
            found = self._carried(values, weight.channel_axis, bound, entropy, context.seed, data)
        if found is None:
            return False
        shared, sharing = found
        if shared.tobytes() != values.tobytes():
            weight.assign(shared)
        weight.note = replace(weight.note or Note(), sharing=sharing)
        return True

    def _found(
        self, weight: Weight, values: Array, bound: float, entropy: bool, context: Context
    ) -> tuple[Array, Sharing] | None:
        """The shared weight: on the previous version's codebook where that is as good, else on one of its own."""
        axis = weight.channel_axis
        if context.previous is None:
            return self._own(values, axis, bound, entropy, context.seed)
        own = None
        if self.bits is not None:
            own = self._own(values, axis, bound, entropy, context.seed)
            bound = bound if own is None else relative_error(values, own[0], axis)
        kept = on_old_codebook(weight, values, context.previous, bound, 1 << (self.bits or 8), apply)
        return kept or own or self._own(values, axis, bound, entropy, context.seed)

    def _own(
        self, values: Array, axis: int | None, bound: float, entropy: bool, seed: int
    ) -> tuple[Array, Sharing] | None:
        """The weight on a codebook of its own, within the bound; None where there is none."""
        target = bound
        for _ in range(ATTEMPTS):
            sharing = self._best(values, axis, target, entropy, seed)
            if sharing is None:
                return None
            shared = apply(values, sharing)
            if self.bits is not None or (error := relative_error(values, shared, axis)) <= bound:
                return shared, sharing
            target *= 0.99 * bound / error
        return None

    def _carried(
        self, values: Array, axis: int | None, bound: float, entropy: bool, seed: int, data: Data
    ) -> tuple[Array, Sharing] | None:
        """The weight on the coarsest codebook that keeps its layer's outputs within the bound."""
        target, best = bound, None
        for _ in range(ATTEMPTS):
            sharing = self._best(values, axis, target, entropy, seed, data[1])
            if sharing is None:
                break
            shared = carried(*data, values, sharing, apply(values, sharing))
            if self.bits is not None:
                return shared, sharing
            error = relative_output_error(data[1], values, shared)
            if error <= bound:
                best = shared, sharing
            if best is not None and (error > 0.9 * bound or target > LOOSER * bound):
                break
            target *= 0.99 * bound / max(error, bound / LOOSER)
        return best

    def _best(
        self, values: Array, axis: int | None, bound: float, entropy: bool, seed: int, layer: Layer | None = None
    ) -> Sharing | None:
        """The sharing with the fewest bits (within the bound) or, at fixed bits, with the least error."""
        options: list[tuple[float, Sharing]] = []
        for scale in self._scales(values, axis):
            if layer is None or (entropy and self.bits is None):
                found = self._cluster(values, axis, scale, bound, entropy, seed)
            else:
                found = self._cluster_for_outputs(values, scale, bound, seed, layer)
            if found is not None:
                cost, codebook = found
                overhead = 0 if scale is None else 8 * (len(scale.codes) + 4 * len(scale.table))
                options.append((cost + (overhead if self.bits is None else 0), Sharing(codebook, scale)))
        return min(options, key=lambda o: o[0])[1] if options else None

    def _scales(self, values: Array, axis: int | None) -> list[Scale | None]:
        scale = channel_scale(values, axis) if axis is not None and self.scale != "none" else None
        if scale is None:
            return [None]
        return [scale] if self.scale == "channel" else [None, scale]

    def _cluster(
        self, values: Array, axis: int | None, scale: Scale | None, bound: float, entropy: bool, seed: int
    ) -> tuple[float, Array] | None:
        """Cost (bits, or at fixed bits the error) and codebook; None where 8 bits do not meet the bound."""
        normal = normalised(values, scale)
        nonzero = normal[normal != 0]
        if nonzero.size == 0:
            return None
        squares = channel_squares(values, axis)
        units = 1.0 if scale is None else np.square(scale.table[scale.codes], dtype=np.float64)
        sensitivity = float(np.mean(units / squares))
        if self.bits is None:
            allowed = bound**2 * normal.size / sensitivity
            if entropy:
                return _fewest_coded_bits(normal, nonzero, allowed)
            return _fewest_packed_bits(clusters.SortedValues(nonzero), normal.size, allowed)
        data = clusters.SortedValues(nonzero)
        codebook = self._fixed(data, nonzero.size < normal.size, seed, self.bits)
        return clusters.square_error(data, codebook) * sensitivity, codebook

    def _cluster_for_outputs(
        self, values: Array, scale: Scale | None, bound: float, seed: int, layer: Layer
    ) -> tuple[float, Array] | None:
        """The same by k-means in which each value counts by what its error does to the layer's outputs."""
        normal = normalised(values, scale)
        own = normal != 0
        if not own.any():
            return None
        data = clusters.SortedValues(normal[own], importances(layer, values, scale)[own])
        if self.bits is None:
            return _fewest_packed_bits(data, normal.size, bound**2)
        codebook = self._fixed(data, not own.all(), seed, self.bits)
        return clusters.square_error(data, codebook), codebook

    def _fixed(self, data: clusters.SortedValues, zeros: bool, seed: int, bits: int) -> Array:
        count = (1 << bits) - (bits == 8 and zeros)
        return clusters.kmeans(data, clusters.initial_centers(data, count, self.init, seed))


def _fewest_coded_bits(normal: Array, nonzero: Array, allowed: float) -> tuple[float, Array] | None:
    """The coarsest grid within the squared error, for entropy-coded indices."""
    zeros = normal.size - nonzero.size
    cells = clusters.coarsest_grid(clusters.histogram(nonzero), allowed, zeros > 0)
    if cells is None:
        return None
    counts = np.append(cells.counts, zeros) if zeros else cells.counts
    return clusters.entropy_bits(counts), np.unique(cells.centers.astype(np.float32))


def _fewest_packed_bits(data: clusters.SortedValues, size: int, allowed: float) -> tuple[float, Array] | None:
    """The fewest k-means clusters, a power of two with zero counted in, within the (weighted) squared error.

    ``size``: of the weight, zeros and all.
    """
    for bits in range(1, 9):
        count = (1 << bits) - (len(data.values) < size)
        codebook = clusters.kmeans(data, clusters.initial_centers(data, count, "linear", 0))
        if clusters.square_error(data, codebook) <= allowed:
            return bits * size, codebook
    return None


def channel_scale(values: Array, axis: int) -> Scale | None:
    """Each channel's root mean square, rounded to a power of two to the 1/SCALE_STEPS; None where all are alike."""
    steps = np.rint(SCALE_STEPS / 2 * np.log2(channel_squares(values, axis))).astype(np.int64)
    steps = np.clip(steps, -126 * SCALE_STEPS, 127 * SCALE_STEPS)  # normal numbers in float32
    used, codes = np.unique(steps, return_inverse=True)
    if len(used) < 2:
        return None
    return Scale(axis % values.ndim, np.exp2(used / SCALE_STEPS).astype(np.float32), codes.astype(np.uint8))


def normalised(values: Array, scale: Scale | None) -> Array:
    """Values over their scale, float32, flat."""
    if scale is None:
        return values.astype(np.float32, copy=False).reshape(-1)
    result = np.empty(values.shape, np.float32)
    for rows in row_chunks(values.shape):
        result[rows] = _normalised_rows(values[rows], scale, rows)
    return result.reshape(-1)


def _normalised_rows(block: Array, scale: Scale | None, rows: slice) -> Array:
    block = block.astype(np.float32, copy=False)
    return block if scale is None else block / scale_slice(scale, block.ndim, rows)


def apply(values: Array, sharing: Sharing) -> Array:
    """The weight with each value replaced by its nearest codebook entry; zeros stay zero."""
    codebook = sharing.codebook
    middles = ((codebook[1:].astype(np.float64) + codebook[:-1]) / 2).astype(np.float32)
    result = np.empty_like(values)
    for rows in row_chunks(values.shape):
        block = values[rows]
        normal = _normalised_rows(block, sharing.scale, rows)
        indices = native.assign(normal.reshape(-1), middles).reshape(block.shape)
        shared = reconstruct(codebook, indices, sharing.scale, rows, values.dtype)
        result[rows] = np.where(block == 0, 0, shared)
    return result
