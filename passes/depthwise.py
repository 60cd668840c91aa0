"""Network decoupling: a convolution becomes depthwise and pointwise ones (Guo et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.passes import layers as layer_view
from onnxsqueeze.passes.bounds import channel_squares, in_range
from onnxsqueeze.passes.layers import Layer, Stage

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Depthwise:
    """Convolutions as sums of depthwise and pointwise pairs, where that saves both parameters and MACs.

    As many pairs as keep each layer's relative error, root mean square over its output channels, within `error`; or
    `pairs` of them, whatever the error. All k·k pairs are exact. A layer takes the cheaper order: depthwise first,
    or pointwise first.
    """

    error: float = 0.02
    pairs: int | None = None
    minimum: int = 1024

    def __post_init__(self) -> None:
        in_range("error", self.error, 0, 1)
        in_range("pairs", self.pairs, 1, None)
        in_range("minimum", self.minimum, 1, None)

    def __call__(self, model: Model, context: Context) -> int:
        found = [
            layer
            for layer in layer_view.layers(model, self.minimum, context)
            if layer.kind == "conv" and math.prod(layer.weight.shape[2:]) > 1 and min(layer.weight.shape[:2]) > 1
        ]
        count = 0
        results = context.each("depthwise", self._stages, found, lambda layer: layer.weight.name)
        for layer, stages in zip(found, results, strict=True):
            if stages is not None:
                layer_view.replace(model, layer, stages)
                count += 1
        if count:
            layer_view.tidy(model)
        return count

    def _stages(self, layer: Layer) -> tuple[Stage, Stage] | None:
        values = layer.weight.values()
        if not (values != 0).any():
            return None
        options = [option for first in (True, False) if (option := self._option(layer, values, first)) is not None]
        if not options:
            return None
        _, depthwise, pointwise, depthwise_first = min(options, key=lambda option: option[0])
        return _built(layer, depthwise, pointwise, depthwise_first)

    def _option(self, layer: Layer, values: Array, depthwise_first: bool) -> tuple[float, Array, Array, bool] | None:
        """Cost (for given pairs the error), kernels [channels, pairs, k], and factors [channels, pairs, others]."""
        scale = np.sqrt(channel_squares(values, 0)).reshape(-1, 1, 1)
        matrices = values.reshape(*values.shape[:2], -1) / scale  # [O, I, k]
        if depthwise_first:
            matrices = matrices.transpose(1, 0, 2)
        kernels, squares = _kernels(matrices)
        lost = squares.sum() - np.cumsum(squares.sum(axis=0))
        pairs = self.pairs
        if pairs is None:
            pairs = 1 + int(np.argmax(lost <= (self.error**2 + 1e-14) * squares.sum()))
        parameters, macs = _cost(layer, min(pairs, squares.shape[1]), depthwise_first)
        if parameters >= layer.most_parameters or macs >= layer.macs:
            return None
        kernels = kernels[:, :pairs]
        factors = np.einsum("cmk,cpk->cpm", matrices, kernels, optimize=True)
        factors *= scale.reshape(1, 1, -1) if depthwise_first else scale.reshape(-1, 1, 1)
        share = parameters / layer.weight.size + macs / layer.macs
        return (share if self.pairs is None else float(lost[kernels.shape[1] - 1])), kernels, factors, depthwise_first


def _kernels(matrices: Array) -> tuple[Array, Array]:
    """Right singular vectors [channels, k, k] of matrices [channels, others, k], and squares of singular values."""
    squares, vectors = np.linalg.eigh(np.einsum("cmk,cml->ckl", matrices, matrices, optimize=True, dtype=np.float64))
    return vectors[:, :, ::-1].transpose(0, 2, 1), np.maximum(squares[:, ::-1], 0)


def _cost(layer: Layer, pairs: int, depthwise_first: bool) -> tuple[int, int]:
    """Parameters and multiply-accumulates of so many pairs."""
    outputs, inputs, *kernel = layer.weight.shape
    area, pointwise = math.prod(kernel), pairs * outputs * inputs
    depthwise = pairs * area * (inputs if depthwise_first else outputs)
    macs = 0
    for before, behind in layer.positions:
        macs += depthwise * math.prod(behind) + pointwise * math.prod(behind if depthwise_first else before)
    return depthwise + pointwise, macs


def _built(layer: Layer, kernels: Array, factors: Array, depthwise_first: bool) -> tuple[Stage, Stage] | None:
    """Depthwise with several kernels a channel, then pointwise; or pointwise, then sums of kernels over each group."""
    shape, dtype = layer.weight.shape, layer.weight.dtype
    axes, ones = tuple(range(len(shape) - 2)), (1,) * (len(shape) - 2)
    channels, pairs = kernels.shape[:2]
    with np.errstate(over="ignore"):
        kernels, factors = kernels.astype(dtype), factors.astype(dtype)
    if not (np.isfinite(kernels).all() and np.isfinite(factors).all()):
        return None
    pointwise = factors.reshape(channels * pairs, -1)
    if depthwise_first:
        depthwise = Stage(kernels.reshape(channels * pairs, 1, *shape[2:]), axes, channels)
        return depthwise, Stage(pointwise.T.reshape(shape[0], channels * pairs, *ones))
    depthwise = Stage(kernels.reshape(channels, pairs, *shape[2:]), axes, channels)
    return Stage(pointwise.reshape(channels * pairs, shape[1], *ones)), depthwise
