"""Low-rank factorisation: a layer becomes two smaller ones (Denton et al. 2014, Jaderberg et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.passes import layers as layer_view
from onnxsqueeze.passes.bounds import choices, error_bounds, in_range
from onnxsqueeze.passes.factors import Matrix, Scheme, limit, per_rank, schemes
from onnxsqueeze.passes.layers import Layer, Stage

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

KINDS = {"auto": ("product", "output", "input", "rows", "columns"), "channel": ("product", "output", "input"),
         "spatial": ("product", "rows", "columns")}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Option:
    """One way to factor a layer: squares of the singular values, and the largest rank that pays."""

    scheme: Scheme
    squares: Array
    limit: int
    share: float  # of the layer's parameters and multiply-accumulates that each rank takes, added up

    def rank(self, lost: float) -> int | None:
        """The smallest rank that leaves out at most this share of the squares; None where it does not pay."""
        rest = np.append(np.cumsum(self.squares[::-1])[::-1], 0.0)  # what each rank leaves out
        rank = max(1, int(np.argmax(rest <= (lost + 1e-15) * rest[0])))
        return rank if rank <= self.limit else None


@dataclass(frozen=True)
class Lowrank:
    """Truncated singular value decomposition, where it saves both parameters and multiply-accumulates.

    With `rank`: of that rank. With `energy`: the smallest rank that holds this share of each weight's squares. With
    `ratio`: that share of the parameters of all layers goes, each layer losing the same share of its squares.
    Without any: the smallest rank within `error`, bounded for the whole model as in `share`, each output channel
    counting the same. `scheme` for convolutions: channel (k×k and 1×1), spatial (k×1 and 1×k), or auto, whichever
    costs less. Grouped convolutions stay as they are.
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
            raise ValueError("rank, ratio and energy exclude each other; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        found = layer_view.layers(model, self.minimum, context)
        count = 0
        spectra = list(context.each("spectra", self._options, found, lambda layer: layer.weight.name))
        jobs = list(zip(found, spectra, self._bounds(found, spectra), strict=True))
        results = context.each("lowrank", lambda job: self._stages(*job), jobs, lambda job: job[0].weight.name)
        for layer, stages in zip(found, results, strict=True):
            if stages is not None:
                layer_view.replace(model, layer, stages)
                count += 1
        if count:
            layer_view.tidy(model)
        return count

    @property
    def _balanced(self) -> bool:
        """Whether each output channel counts the same."""
        return self.rank is None and self.energy is None

    def _options(self, layer: Layer) -> list[Option]:
        """The schemes that can pay."""
        options = []
        for scheme in schemes(layer) if (layer.weight.values() != 0).any() else ():
            most, (parameters, macs) = limit(layer, scheme), per_rank(layer, scheme)
            if scheme.name in KINDS[self.scheme] and most >= (self.rank or 1):
                squares = Matrix(layer, scheme, self._balanced).squares()
                share = parameters / layer.weight.size + macs / layer.macs
                options.append(Option(scheme, squares, most, share))
        return options

    def _bounds(self, found: list[Layer], spectra: list[list[Option]]) -> list[float]:
        """The share of its squares that each layer may lose."""
        sizes = [layer.weight.size for layer in found]
        if self.energy is not None:
            return [1 - self.energy] * len(found)
        if self.ratio is None:
            return [bound**2 for bound in error_bounds(sizes, self.error)]

        def saved(lost: float) -> float:
            total = 0
            for layer, options in zip(found, spectra, strict=True):
                best = _best(options, lost)
                total += 0 if best is None else layer.weight.size - best[1] * per_rank(layer, best[0].scheme)[0]
            return total / max(sum(sizes), 1)

        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if saved(middle) >= self.ratio else (middle, high)
        return [high] * len(found)

    def _stages(self, layer: Layer, options: list[Option], lost: float) -> tuple[Stage, Stage] | None:
        """The two stages of the best scheme; None where none pays."""
        if self.rank is not None and options:
            rank = self.rank
            best = min(options, key=lambda option: float(option.squares[rank:].sum()))
            chosen: tuple[Option, int] | None = best, min(rank, len(best.squares))
        else:
            chosen = _best(options, lost)
        if chosen is None:
            return None
        return Matrix(layer, chosen[0].scheme, self._balanced).stages(chosen[1], layer.weight.dtype)


def _best(options: list[Option], lost: float) -> tuple[Option, int] | None:
    """The cheapest scheme within the bound, and its rank."""
    ranks = [(option, rank) for option in options if (rank := option.rank(lost)) is not None]
    return min(ranks, key=lambda found: found[0].share * found[1], default=None)
