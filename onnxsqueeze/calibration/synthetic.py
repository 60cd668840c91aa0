"""Inputs made up so that they look, to the model's BatchNormalization layers, like what it was trained on.

Of noises of several colours, offsets and sizes that one is taken whose channel means and variances, in front of each
BatchNormalization, come closest to the statistics kept there (which Cai et al. 2020, ZeroQ, descend on by gradients).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from onnxsqueeze.calibration.expose import expose
from onnxsqueeze.calibration.session import open_session, run
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Edges, Key, domain, edges
from onnxsqueeze.model.roles import attribute

Array = npt.NDArray[Any]
Feed = dict[str, Array]

COLOURS = (0.0, 1.0, 1.5)  # noise of amplitude 1 / frequency to this power along wide axes
SPANS = ((0.0, 1.0), (0.0, 0.5), (0.0, 2.0), (0.5, 0.25), (127.0, 64.0))  # mean and standard deviation
COMMON = 0.8  # share of the variance that narrow axes (channels of a picture) have in common, but for white noise
WIDE = 8  # elements of an axis from which on it is one of space or time
TRIED = 2  # samples of each kind of noise that are looked at
MOST = 40  # BatchNormalization layers that are looked at


@dataclass(frozen=True)
class Kind:
    """A noise."""

    colour: float
    mean: float
    deviation: float

    def like(self, value: Array, random: np.random.Generator) -> Array:
        """Noise shaped as an input; what is not of floats, or has no wide axes, stays as it is."""
        axes = [i for i, size in enumerate(value.shape) if i and size >= WIDE]
        if not np.issubdtype(value.dtype, np.floating) or value.ndim < 3 or not axes:
            return value
        noise = random.standard_normal(value.shape)
        if self.colour:
            narrow = tuple(i for i in range(1, value.ndim) if i not in axes)
            common = random.standard_normal([1 if i in narrow else size for i, size in enumerate(value.shape)])
            noise = _coloured(np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * noise, axes, self.colour)
        return (self.mean + self.deviation * noise / max(float(noise.std()), 1e-12)).astype(value.dtype)


def fitting(proto: ModelProto, feeds: Sequence[Feed], seed: int) -> list[Feed] | None:
    """As many inputs, shaped alike, of the noise that fits best; None where no BatchNormalization tells.

    ``feeds``: standard normal inputs that the model runs on.
    """
    judge = _Judge.of(proto)
    if judge is None:
        return None
    kinds = [Kind(colour, *span) for colour in COLOURS for span in SPANS]
    found = [judge.mismatch(_made(kind, feeds[:TRIED], seed)) for kind in kinds]
    if not np.isfinite(found).any():
        return None
    return _made(kinds[int(np.nanargmin(found))], feeds, seed)


def _made(kind: Kind, feeds: Sequence[Feed], seed: int) -> list[Feed]:
    random = np.random.default_rng(seed)
    return [{name: kind.like(value, random) for name, value in feed.items()} for feed in feeds]


def _coloured(noise: Array, axes: Sequence[int], power: float) -> Array:
    spectrum = np.fft.fftn(noise, axes=axes)
    squares = np.zeros([noise.shape[i] if i in axes else 1 for i in range(noise.ndim)])
    for axis in axes:
        shape = [1] * noise.ndim
        shape[axis] = noise.shape[axis]
        squares = squares + np.square(np.fft.fftfreq(noise.shape[axis])).reshape(shape)
    lowest = 1 / max(noise.shape[i] for i in axes)
    made: Array = np.fft.ifftn(spectrum / np.maximum(np.sqrt(squares), lowest) ** power, axes=axes).real
    return made


@dataclass(frozen=True, eq=False)
class _Judge:
    session: Any
    outputs: Sequence[str]
    means: Sequence[Array]  # that each BatchNormalization keeps
    variances: Sequence[Array]

    @staticmethod
    def of(proto: ModelProto) -> _Judge | None:
        copy = ModelProto()
        copy.CopyFrom(proto)
        layers = list(_layers(Model.load(copy), edges(copy)))[:MOST]
        if not layers:
            return None
        outputs = expose(copy, [key for key, _, _ in layers])
        known = [(o, m, v) for o, (_, m, v) in zip(outputs, layers, strict=True) if o is not None]
        try:
            session = open_session(copy.SerializeToString(), 1)
        except (ModelError, ValueError):  # such as over 2 GB
            return None
        names, means, variances = zip(*known, strict=True)
        return _Judge(session, names, means, variances)

    def mismatch(self, feeds: Sequence[Mapping[str, Array]]) -> float:
        """Mean over layers of log(1 + divergence of Gaussians); NaN where the model does not run."""
        try:
            runs = [run(self.session, self.outputs, feed) for feed in feeds]
        except ModelError:
            return float("nan")
        logs = []
        for values, mean, variance in zip(zip(*runs, strict=True), self.means, self.variances, strict=True):
            rows = np.concatenate([np.moveaxis(v, 1, 0).reshape(len(mean), -1) for v in values], axis=1)
            own, spread = rows.mean(axis=1, dtype=np.float64), np.maximum(rows.var(axis=1, dtype=np.float64), 1e-12)
            ratio = spread / variance
            logs.append(np.log1p(np.mean(ratio + np.square(own - mean) / variance - 1 - np.log(ratio)) / 2))
        return float(np.mean(logs))


def _layers(model: Model, wiring: Edges) -> Iterator[tuple[Key, Array, Array]]:
    """What flows into each BatchNormalization of the main graph, and its mean and variance."""
    scope = wiring.scopes[0]
    for node in scope.graph.node:
        if node.op_type != "BatchNormalization" or domain(node) != "" or len(node.input) < 5:
            continue
        key, statistics = wiring.key(scope, node.input[0]), [wiring.key(scope, name) for name in node.input[3:5]]
        tensors = [wiring.constants.get(k) for k in statistics if k is not None]
        if key is None or len(tensors) != 2 or any(tensor is None for tensor in tensors):
            continue
        mean, variance = (model.read(tensor).astype(np.float64) for tensor in tensors if tensor is not None)
        epsilon = attribute(node, "epsilon", 1e-5)
        yield key, mean, np.maximum(variance, 0) + (epsilon if isinstance(epsilon, float) else 1e-5)
