"""Pruning: the least salient weights become zero (Han et al. 2015; Mao et al. 2017; Mishra et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.collect import layers
from onnxsqueeze.encode import Note, Pattern
from onnxsqueeze.errors import PassError
from onnxsqueeze.passes import granularity as grain
from onnxsqueeze.passes.bounds import channel_squares, choices, error_bounds, in_range, packable
from onnxsqueeze.passes.criteria import CRITERIA, Surgery, importance, keep_per_output, measurable
from onnxsqueeze.passes.permutation import rearrange
from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

BINS = 1 << 16
LOG_LOW, LOG_HIGH = -24.0, 8.0  # range of log2(saliency / root mean square) told apart by the global threshold


@dataclass(frozen=True)
class Prune:
    """Zeroes weights. With `sparsity`: that fraction of them. Without: as many as `error` allows in each tensor.

    `criterion`: magnitude; with calibration inputs wanda, obd (Optimal Brain Damage) or obs (Optimal Brain Surgeon, as
    in SparseGPT: the weights that stay make up for those that go, layer by layer); auto is obs where there are some.

    `granularity`: element, row (output neuron), column, kernel, vector, filter, block(BxC), or N:M along the reduction
    axis. `norm`: p of the group's Lp norm. `scope`: uniform, or global (one threshold on saliency over each tensor's
    root mean square). `permute`: before N:M, puts channels in an order that keeps more magnitude. Depthwise
    convolutions and tensors under `minimum` elements are left alone, except by `error`; the first and the last layer
    get half the sparsity, and no N:M.
    """

    sparsity: float | None = None
    error: float = 0.02
    granularity: str = "element"
    criterion: str = "auto"
    norm: float = 1.0
    scope: str = "uniform"
    minimum: int = 1024
    permute: bool = False

    def __post_init__(self) -> None:
        in_range("sparsity", self.sparsity, 0, 1)
        in_range("error", self.error, 0, 1)
        in_range("norm", self.norm, 0.1, 100)
        in_range("minimum", self.minimum, 1, None)
        choices("scope", self.scope, ("uniform", "global"))
        choices("criterion", self.criterion, CRITERIA)
        if grain.parse(self.granularity).pattern and self.sparsity is not None:
            raise ValueError("sparsity follows from an N:M granularity; give one of the two")
        if self.permute and grain.parse(self.granularity).pattern is None:
            raise ValueError("permute needs an N:M granularity such as 2:4")

    def __call__(self, model: Model, context: Context) -> int:
        criterion = self._criterion(context)
        jobs = self._jobs(model, context)
        moved = self._permuted(model, jobs, context) if self.permute else 0
        jobs = self._jobs(model, context) if moved else jobs
        changed = self._with_data(model, jobs, criterion, context) if criterion != "magnitude" else []
        left = [job for job in jobs if job[0].name not in dict(changed)]
        if changed and left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            why = "tables, depthwise convolutions, and what no sample reaches"
            context.notes(f"prune: '{left[0][0].name}'{more} pruned by magnitude ({why})")
        plain = sum(context.each("prune", lambda job: self._prune(*job), left, lambda job: job[0].name))
        self._tell_unpatterned(model, context)
        return moved + sum(done for _, done in changed) + plain

    def _criterion(self, context: Context) -> str:
        if self.criterion == "auto":
            return "obs" if context.calibration else "magnitude"
        if self.criterion != "magnitude" and not context.calibration:
            raise PassError(f"prune: criterion {self.criterion} needs calibration inputs; give some with --calibration")
        return self.criterion

    def _with_data(
        self, model: Model, jobs: list[tuple[Weight, float]], criterion: str, context: Context
    ) -> list[tuple[str, bool]]:
        """Prunes layer after layer, each on what the ones before, pruned already, feed it; whether each changed."""
        of, surgery = {weight.name: (weight, target) for weight, target in jobs}, Surgery()
        done: list[tuple[str, bool]] = []
        for stage in layers(model, context.calibration or (), set(of), context.jobs, context.progress, "prune"):
            done.extend(
                (layer.name, self._prune(*of[layer.name], (layer, criterion, surgery)))
                for layer in filter(measurable, stage)
            )
        return done

    def _jobs(self, model: Model, context: Context) -> list[tuple[Weight, float]]:
        """The weights that lose something, each with its target."""
        weights = packable(model, self.minimum, context)
        if self.sparsity is not None or grain.parse(self.granularity).pattern is not None:
            weights = [w for w in weights if not _is_depthwise(w)]
        targets = self._targets(model, weights, context)
        return [(w, t) for w, t in zip(weights, targets, strict=True) if t > 0]

    def _tell_unpatterned(self, model: Model, context: Context) -> None:
        """Notes how much an N:M granularity has left as it was."""
        if grain.parse(self.granularity).pattern is None:
            return
        left = [w for w in packable(model, self.minimum, context) if not (w.note and w.note.pattern)]
        if left:
            context.notes(
                f"prune: {len(left)} weights, such as '{left[0].name}', are not {self.granularity}: the first and the "
                "last layer, depthwise convolutions, and those whose reduction axis it does not divide"
            )

    def _permuted(self, model: Model, jobs: list[tuple[Weight, float]], context: Context) -> int:
        """Groups whose channels were put in another order."""
        pattern = grain.parse(self.granularity).pattern
        assert pattern is not None
        found = [model.find(weight.name) for weight, _ in jobs]
        return rearrange(model, {(item.scope.index, item.local) for item in found}, *pattern, context)

    def _targets(self, model: Model, weights: list[Weight], context: Context) -> list[float]:
        """Per weight: its sparsity or, without `sparsity`, its error bound; for N:M 1 where it applies."""
        if grain.parse(self.granularity).pattern is not None:
            return [0.0 if edge else 1.0 for edge in _is_edge(weights)]
        if self.sparsity is None:
            return error_bounds([w.size for w in weights], self.error)
        sparsity = self.sparsity
        if self.scope == "uniform":
            return [sparsity / 2 if edge else sparsity for edge in _is_edge(weights)]
        return self._global_targets(model, weights, sparsity, context)

    def _global_targets(self, model: Model, weights: list[Weight], sparsity: float, context: Context) -> list[float]:
        """Each tensor's sparsity under one threshold on normalised saliency, found on a histogram."""
        counts = self._from_data(model, weights, context) if self._criterion(context) != "magnitude" else {}
        for weight in weights:
            if weight.name not in counts:
                counts[weight.name] = self._histogram(weight, weight.values())
        sizes = [w.size for w in weights]
        shapes = [counts[w.name] for w in weights]
        pooled = np.sum([c / c.sum() * n for c, n in zip(shapes, sizes, strict=True)], axis=0)
        below = np.searchsorted(np.cumsum(pooled), sparsity * sum(sizes), side="right")
        shares = [float(c[:below].sum() / c.sum()) for c in shapes]
        return [s / 2 if edge else s for s, edge in zip(shares, _is_edge(weights), strict=True)]

    def _from_data(self, model: Model, weights: list[Weight], context: Context) -> dict[str, Array]:
        of = {weight.name: weight for weight in weights}
        stages = layers(model, context.calibration or (), set(of), context.jobs, context.progress)
        return {
            layer.name: self._histogram(of[layer.name], importance(layer, of[layer.name].values()))
            for stage in stages
            for layer in filter(measurable, stage)
        }

    def _histogram(self, weight: Weight, sizes: Array) -> Array:
        saliency, groups = self._saliency(weight, sizes)
        return _log_histogram(saliency, groups.sizes)

    def _saliency(self, weight: Weight, sizes: Array) -> tuple[Array, grain.Groups]:
        """Lp norm of each group, as a mean over its elements, over the root mean square of all: [groups]."""
        canonical, back = grain.canonical(sizes, weight.channel_axis or 0, weight.reduction_axis)
        groups = grain.groups(canonical, grain.parse(self.granularity))
        size = np.abs(groups.rows.astype(np.float32))
        if size.shape[1] == 1:
            saliency = size[:, 0]
        else:
            counts = size.shape[1] if groups.sizes is None else groups.sizes
            saliency = (np.sum(size.astype(np.float64) ** self.norm, axis=1) / counts) ** (1 / self.norm)
        rms = float(np.sqrt(np.mean(np.square(sizes, dtype=np.float64))))
        return saliency / max(rms, 1e-30), grain.Groups(groups.rows, lambda a: back(groups.restore(a)), groups.sizes)

    def _prune(self, weight: Weight, target: float, data: tuple[Layer, str, Surgery] | None = None) -> bool:
        """Prunes one weight, by magnitude or, with its layer, by a criterion; whether it lost anything."""
        values = weight.values()
        pruned = self._pruned(weight, values, target, data)
        if pruned is None or not (values[pruned == 0] != 0).any():
            return False
        weight.assign(pruned)
        pattern = grain.parse(self.granularity).pattern
        if pattern is not None:
            axis = (weight.reduction_axis or 0) % values.ndim
            weight.note = replace(weight.note or Note(), pattern=Pattern(*pattern, axis))
        return True

    def _pruned(
        self, weight: Weight, values: Array, target: float, data: tuple[Layer, str, Surgery] | None
    ) -> Array | None:
        if data is None:
            keep = self._keep(weight, values, target, None)
            return None if keep is None else _masked(values, keep)
        layer, criterion, surgery = data
        pattern, axis = grain.parse(self.granularity).pattern, weight.reduction_axis
        if criterion == "obs" and pattern is not None and axis is not None:
            found = surgery.patterned(layer, values, *pattern, axis % values.ndim)
            if found is not None:
                return found
        elif criterion == "obs" and self.sparsity is not None and self.granularity == "element":
            return surgery.sparse(layer, values, target)
        keep = self._keep(weight, importance(layer, values), target, layer if criterion == "wanda" else None)
        if keep is None:
            return None
        return surgery.masked(layer, values, keep) if criterion == "obs" else _masked(values, keep)

    def _keep(self, weight: Weight, sizes: Array, target: float, within: Layer | None) -> Array | None:
        """Mask (True = keep) by sizes shaped as the weight; ``within``: single weights are compared in each output."""
        pattern = grain.parse(self.granularity).pattern
        if pattern is not None:
            return _pattern_mask(weight, sizes, *pattern)
        if self.sparsity is None:
            return self._within_error(weight, sizes, target)
        if within is not None and self.granularity == "element":
            return keep_per_output(within, sizes, target)
        saliency, groups = self._saliency(weight, sizes)
        return _spread(grain.all_but_smallest(saliency, _count(saliency, target, groups.sizes)), groups)

    def _within_error(self, weight: Weight, sizes: Array, bound: float) -> Array | None:
        """Keeps all but the groups of least energy whose relative errors, per output channel, stay within the bound."""
        squares = channel_squares(sizes, weight.channel_axis)
        shape = [1] * sizes.ndim
        if weight.channel_axis is not None:
            shape[weight.channel_axis] = len(squares)
        energy = np.divide(sizes, np.sqrt(squares).reshape(shape), dtype=np.float32)
        np.square(energy, out=energy)
        canonical, back = grain.canonical(energy, weight.channel_axis or 0, weight.reduction_axis)
        groups = grain.groups(canonical, grain.parse(self.granularity))
        cost = groups.rows[:, 0] if groups.rows.shape[1] == 1 else groups.rows.sum(axis=1)
        threshold = _threshold(np.ascontiguousarray(cost), bound**2 * sizes.size)
        return back(_spread(cost >= threshold, groups)) if threshold > 0 else None


def _masked(values: Array, keep: Array) -> Array:
    return np.where(keep, values, 0).astype(values.dtype)


def _threshold(cost: Array, budget: float) -> float:
    """The largest value, on ever finer histograms, such that all smaller costs (float32, flat) add up to the budget."""
    high = float(cost.max(initial=0.0))
    while high > 0:
        width = high / BINS
        sums = native.histogram(cost, 0.0, high, BINS)[1]
        fits = int(np.searchsorted(np.cumsum(sums), budget, side="right"))
        if fits > BINS // 256 or width < 1e-30:
            return fits * width
        high = width * (fits + 1) * 2
    return 0.0


def _is_depthwise(weight: Weight) -> bool:
    return weight.role == "conv" and weight.groups > 1 and weight.shape[1] == 1


def _is_edge(weights: list[Weight]) -> list[bool]:
    """First and last layer in the order in which they run, where there are more than two."""
    places = [weight.place for weight in weights if weight.place >= 0]
    edges = {min(places), max(places)} if len(weights) > 2 and places else set()
    return [weight.place in edges for weight in weights]


def _log_histogram(saliency: Array, sizes: Array | None) -> Array:
    """How many elements lie in groups of each saliency; ``sizes``: of the groups, where they differ."""
    logs = np.log2(np.maximum(saliency, 2.0**LOG_LOW))
    return np.histogram(logs, BINS, (LOG_LOW, LOG_HIGH), weights=sizes)[0].astype(np.float64)


def _count(saliency: Array, target: float, sizes: Array | None) -> int:
    """How many of the least salient groups hold at most the fraction ``target`` of all elements."""
    if sizes is None:
        return int(target * len(saliency))
    held = np.cumsum(sizes[np.argsort(saliency, kind="stable")])
    return int(np.searchsorted(held, target * held[-1], side="right"))


def _spread(keep: Array, groups: grain.Groups) -> Array:
    return groups.restore(np.broadcast_to(keep[:, None], groups.rows.shape))


def _pattern_mask(weight: Weight, values: Array, kept: int, group: int) -> Array | None:
    axis = weight.reduction_axis
    if axis is None or values.shape[axis] % group:
        return None
    return grain.keep_n_of_m(values, axis % values.ndim, kept, group)
