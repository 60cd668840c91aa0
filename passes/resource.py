"""What a device pays for one run of a model, as a budget sees it: multiply-accumulates, seconds or joules."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze import cost
from onnxsqueeze.passes.stored import stored

if TYPE_CHECKING:
    from onnxsqueeze.cost import Device
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

UNITS = {"macs": "MACs", "seconds": "s", "joules": "J"}


@dataclass(frozen=True)
class Prediction:
    """What the cost model says of a run, before and after; ``means``: the passes that were found to lower it."""

    quantity: str  # macs, seconds or joules
    device: str
    before: float
    after: float
    limit: float
    means: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    """One of the figures of a device, for inputs of these shapes."""

    quantity: str
    device: Device
    shapes: Mapping[str, tuple[int, ...]]

    def of(self, model: Model, context: Context) -> float:
        """One run of the model, as it would be stored where the device reads weights as they are stored."""
        if not self.device.reads_packed:
            return float(getattr(cost.figures(model, self.device, self.shapes), self.quantity))
        with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
            path = stored(model, context, Path(folder))
            return float(getattr(cost.figures(path, self.device, self.shapes), self.quantity))

    def of_nodes(self, model: Model) -> dict[str, float]:
        """The part of each node, by its name in the cost model."""
        found = cost.estimate(cost.analyse(model, self.shapes), self.device)
        parts: dict[str, float] = {}
        for node in found.nodes:
            values = {"macs": float(node.work.macs), "seconds": node.time.total, "joules": node.energy.total}
            parts[node.work.name] = values[self.quantity]
        return parts

    def told(self, value: float) -> str:
        """A figure in words."""
        for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ")):
            if value >= factor * 0.9995:
                return f"{value / factor:.4g} {prefix}{UNITS[self.quantity]}"
        return f"{value:.4g} {UNITS[self.quantity]}"


def shapes_of(context: Context) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs of the first sample."""
    first = context.calibration[0] if context.calibration else {}
    return {name: tuple(value.shape) for name, value in first.items()}
