"""Fitting a model to a device: no more multiply-accumulates, seconds or joules a run than asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.calibration.trial import Trial
from onnxsqueeze.cost import load_device
from onnxsqueeze.cost.device import DEFAULT
from onnxsqueeze.errors import PassError, SqueezeError
from onnxsqueeze.passes.adapt_channels import shrink
from onnxsqueeze.passes.allocation import Account, parted, unseen
from onnxsqueeze.passes.channels import Channels
from onnxsqueeze.passes.prune import Prune
from onnxsqueeze.passes.resource import UNITS, Prediction, Resource, shapes_of
from onnxsqueeze.passes.share import Share
from onnxsqueeze.passes.stored import copied
from onnxsqueeze.pipeline.lower import OPSET

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

TRIED = 0.5  # sparsity, and share of channels, at which the means are tried on the device
HELPS = 0.99  # a means helps that leaves no more than this
SPARSEST, SPARSE = 0.95, 0.8  # where only zeros help, and where channels help as well
FEWEST = 0.9  # share of channels that may go at most
STEPS = 7  # of the search for a sparsity
FINER = 0.01  # sparsity added where the search fell short


@dataclass(frozen=True)
class Adapt:
    """Lowers what the cost model predicts for a run on a `device`: `macs` (up to 1: a share), `seconds` or `joules`.

    Which of channels, prune and share lower it is found out on the device's model; these are used, channels in rounds
    that take from the groups whose loss costs the outputs least (NetAdapt). With calibration inputs, outputs are
    measured, and what stays makes up for what goes. Where nothing is asked for, weights are only shared.
    """

    macs: float | None = None
    seconds: float | None = None
    joules: float | None = None
    device: str = DEFAULT

    def __post_init__(self) -> None:
        given = [name for name in UNITS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError("macs, seconds and joules ask for different things; give one of them")
        for name in given:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name):g}")
        load_device(self.device)

    def __call__(self, model: Model, context: Context) -> int:
        quantity = next((name for name in UNITS if getattr(self, name) is not None), "macs")
        resource = Resource(quantity, load_device(self.device), shapes_of(context))
        return _Adaptation(model, resource, float(getattr(self, quantity) or 1.0), context).run()


class _Adaptation:
    """One run over a model, which is changed in place."""

    def __init__(self, model: Model, resource: Resource, wanted: float, context: Context) -> None:
        self._model, self._resource, self._context = model, resource, context
        fitted, judging = parted(list(context.calibration or ()))
        self._apart = judging is not fitted
        self._fitting = replace(context, calibration=tuple(fitted) or None)
        self._judging = judging
        self._before = resource.of(model, context)
        self._limit = wanted * self._before if resource.quantity == "macs" and wanted <= 1 else wanted

    def run(self) -> int:
        """Meets the limit; returns the number of changes."""
        context, resource = self._context, self._resource
        jobs, store = context.jobs, context.store
        trial = Trial(self._model, self._judging, jobs, store=store) if self._judging else None
        held_out = unseen(context)
        held = Trial(self._model, held_out, jobs, store=store) if held_out else None
        means = self._means() if self._before > self._limit else ()
        version = self._model.opset
        self._model.raise_opset(OPSET)  # as storing it will, which may cost a run some nodes more
        changes, sparsity = int(self._model.opset != version), 0.0
        if means:
            self._refuse_impossible(means)
            sparsity = self._sparsity(means)
            if "channels" in means:
                shrink(
                    self._model, resource, lambda m: self._after(m, means, sparsity), self._limit, trial, self._fitting
                )
                changes += 1
        changes += self._finish(means, sparsity)
        after = resource.of(self._model, context)
        if after > self._limit:
            raise PassError(self._refusal(after))
        prediction = Prediction(resource.quantity, resource.device.name, self._before, after, self._limit, means)
        losses = [() if judge is None else judge.loss(self._model).outputs for judge in (trial, held)]
        counts = len(self._fitting.calibration or ()), len(self._judging), len(held_out)
        context.accounts(Account(*counts, losses[0], losses[1], (), prediction, self._apart))
        return changes

    def _means(self) -> tuple[str, ...]:
        """The passes that lower the resource on this device."""
        tried: dict[str, Sequence[Any]] = {
            "share": (Share(),),
            "prune": (Prune(sparsity=TRIED, criterion="magnitude"),),
            "channels": (Channels(ratio=TRIED),),
        }
        return tuple(name for name, passes in tried.items() if self._with(self._model, passes) < HELPS * self._before)

    def _with(self, model: Model, passes: Sequence[Any]) -> float:
        """The resource of a copy that passes have changed without looking at samples; infinity where one fails."""
        context = replace(self._context.quiet(), calibration=None)
        with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
            copy = copied(model, Path(folder))
            try:
                for step in passes:
                    step(copy, context)
            except SqueezeError:
                return float("inf")
            return self._resource.of(copy, context)

    def _after(self, model: Model, means: Sequence[str], sparsity: float) -> float:
        """The resource once this share of weights is zero, and the others shared, if that helps."""
        zeros = (Prune(sparsity=sparsity, criterion="magnitude"),) if sparsity else ()
        return self._with(model, (*zeros, *((Share(),) if "share" in means else ())))

    def _refuse_impossible(self, means: Sequence[str]) -> None:
        fewest = (Channels(ratio=FEWEST),) if "channels" in means else ()
        zeros = (Prune(sparsity=SPARSEST, criterion="magnitude"),) if "prune" in means else ()
        least = self._with(self._model, (*fewest, *zeros, *((Share(),) if "share" in means else ())))
        if least > self._limit:
            raise PassError(self._refusal(min(least, self._before)))

    def _refusal(self, least: float) -> str:
        told, device = self._resource.told, self._resource.device.name
        return f"a run on {device} cannot take as little as {told(self._limit)}; the least reachable is {told(least)}"

    def _sparsity(self, means: Sequence[str]) -> float:
        """The least sparsity that will do; where channels help, no more than weights bear."""
        if "prune" not in means or self._after(self._model, means, 0.0) <= self._limit:
            return 0.0
        most = SPARSE if "channels" in means else SPARSEST
        if self._after(self._model, means, most) > self._limit:
            return most
        low, high = 0.0, most
        for _ in range(STEPS):
            middle = (low + high) / 2
            enough = self._after(self._model, means, middle) <= self._limit
            low, high = (low, middle) if enough else (middle, high)
        return high

    def _finish(self, means: Sequence[str], sparsity: float) -> int:
        """Prunes and shares for good, with what samples tell."""
        changes = 0
        while sparsity and sparsity <= SPARSEST:
            changes += Prune(sparsity=sparsity)(self._model, self._fitting)
            if self._after(self._model, means, 0.0) <= self._limit:
                break
            sparsity += FINER
        return changes + Share()(self._model, self._fitting)
