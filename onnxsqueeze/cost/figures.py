"""The numbers that budgets are about, in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.cost.analyse import analyse
from onnxsqueeze.cost.device import DEFAULT, Device, load_device
from onnxsqueeze.cost.estimate import estimate

if TYPE_CHECKING:
    from onnx import ModelProto

    from onnxsqueeze.model import Model


@dataclass(frozen=True)
class Figures:
    """One inference of a model on a device."""

    macs: (
        int  # multiply-accumulates that are computed: on devices that skip zeros, those with weights that are not zero
    )
    seconds: float
    joules: float
    nbytes: int  # of the weights as they lie in the file


def figures(
    model: str | os.PathLike[str] | Model | ModelProto,
    device: Device | str | Path = DEFAULT,
    shapes: Mapping[str, Sequence[int] | int] | None = None,
) -> Figures:
    """Latency, energy, MACs and bytes of a model, packed or not.

    Args:
        model: an ``.onnx`` file or a model in memory, which is not changed.
        device: a profile, its name, or its TOML file.
        shapes: as for ``analyse``.

    Raises:
        ModelError: the model is not valid, or the shapes do not fit it.
        DeviceError: the device is unknown, or its file is no profile.
    """
    profile = device if isinstance(device, Device) else load_device(device)
    workload = analyse(model, shapes)
    found = estimate(workload, profile)
    macs = workload.nonzero_macs if profile.skips_zero_weights else workload.macs
    return Figures(macs, found.time.total, found.energy.total, workload.stored_nbytes)
