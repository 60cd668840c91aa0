"""Low-rank factorisation: a layer becomes two smaller ones (Denton et al. 2014, Jaderberg et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from onnxsqueeze.passes import layers as layer_view
from onnxsqueeze.passes.bounds import choices, error_bounds, in_range
from onnxsqueeze.passes.factors import Matrix, Scheme, limit, per_rank, schemes
from onnxsqueeze.passes.layers import Layer, Stage

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

KINDS = {"auto": ("product", "output", "input", "rows", "columns"), "channel": ("product", "output", "input"),
         "spatial": ("product", "rows", "columns")}  # fmt: skip


@dataclass(frozen=True)
class Lowrank:
    """Truncated singular value decomposition, where it saves both parameters and multiply-accumulates.

    With `rank`: of that rank. With `ratio`: that share of each layer's parameters goes. With `energy`: the smallest
    rank that holds this share of the weights' squares. Without any: the smallest rank within `error`, bounded for
    the whole model as in `share`, each output channel counting the same. `scheme` for convolutions: channel
    (k×k and 1×1), spatial (k×1 and 1×k), or auto, whichever costs less. Grouped convolutions stay as they are.
    """

    rank: int | None = None
    ratio: float | None = None
    energy: float | None = None
    error: float = 0.05
    scheme: str = "auto"
    minimum: int = 1024

    def __post_init__(self) -> None:
        in_range("rank", self.rank, 1, None)
        for name in ("ratio", "energy", "error"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("minimum", self.minimum, 1, None)
        choices("scheme", self.scheme, tuple(KINDS))
        if sum(given is not None for given in (self.rank, self.ratio, self.energy)) > 1:
            raise ValueError("rank, ratio and energy say the same thing; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        found = layer_view.layers(model, self.minimum, context)
        bounds = error_bounds([layer.weight.size for layer in found], self.error)
        count = 0
        with threadpool_limits(1):  # jobs are threads of their own, and results do not depend on them
            jobs = list(zip(found, bounds, strict=True))
            results = context.each("lowrank", lambda job: self._stages(*job), jobs, lambda job: job[0].weight.name)
            for layer, stages in zip(found, results, strict=True):
                if stages is not None:
                    layer_view.replace(model, layer, stages)
                    count += 1
        if count:
            layer_view.tidy(model)
        return count

    def _stages(self, layer: Layer, bound: float) -> tuple[Stage, Stage] | None:
        """The two stages of the best scheme; None where none pays."""
        options = [option for scheme in schemes(layer) if (option := self._option(layer, scheme, bound)) is not None]
        for _, rank, matrix in sorted(options, key=lambda option: option[0]):
            stages = matrix.stages(rank, layer.weight.dtype)
            if stages is not None:
                return stages
        return None

    def _option(self, layer: Layer, scheme: Scheme, bound: float) -> tuple[float, int, Matrix] | None:
        """Cost, rank and matrix of one scheme, where it saves anything."""
        most = limit(layer, scheme)
        if scheme.name not in KINDS[self.scheme] or most < 1 or not (layer.weight.values() != 0).any():
            return None
        parameters, macs = per_rank(layer, scheme)
        rank = self.rank
        if self.ratio is not None:
            rank = int((1 - self.ratio) * layer.weight.size / parameters)
        if rank is not None and not 1 <= rank <= most:
            return None
        matrix = Matrix(layer, scheme, balanced=self.energy is None and rank is None)
        squares = matrix.squares()
        if rank is not None:
            rank = min(rank, len(squares))
            return float(squares[rank:].sum()), rank, matrix
        lost = 1 - self.energy if self.energy is not None else bound**2
        rest = np.append(np.cumsum(squares[::-1])[::-1], 0.0)  # what each rank leaves out
        rank = max(1, int(np.argmax(rest <= lost * rest[0] + 1e-15 * rest[0])))
        if rank > most:
            return None
        return rank * (parameters / layer.weight.size + macs / layer.macs), rank, matrix
