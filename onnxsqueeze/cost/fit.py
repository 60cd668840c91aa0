"""Constants from measurements: the efficiency and the start-up time of each kind of node that explain them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxsqueeze.cost.device import Constant, Device
from onnxsqueeze.cost.latency import bandwidth, node_time
from onnxsqueeze.cost.workload import Workload

EFFICIENCIES = np.geomspace(1e-4, 2.0, 240)
STARTS = (0.0, 0.25e-6, 0.5e-6, 1e-6, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 64e-6)


@dataclass(frozen=True)
class Sample:
    """A measured difference: so many seconds for the nodes that one model has more than another."""

    kind: str
    what: str
    seconds: float
    small: Workload
    large: Workload


def with_constants(device: Device, values: dict[str, float], source: str) -> Device:
    """The device with some constants replaced."""
    return replace(device, constants={**device.constants, **{k: Constant(v, source) for k, v in values.items()}})


def predicted(workload: Workload, device: Device) -> float:
    """Seconds of all nodes of a small model."""
    rate = bandwidth(device, workload.weight_nbytes)
    return sum(node_time(n, device, n.weight_nbytes * n.runs / rate).total for n in workload.nodes)


def fitted(device: Device, kind: str, samples: Sequence[Sample], source: str) -> Device:
    """The device with the efficiency, and where it says more the start-up time, of one kind of node."""
    best = (np.inf, device)
    for start in STARTS:
        trial = with_constants(device, {f"overhead.{kind}": start, f"efficiency.{kind}": 1.0}, source)
        errors = np.sum([_errors(trial, kind, sample) for sample in samples], axis=0)
        place = int(np.argmin(errors))
        if errors[place] < best[0] - 0.02 * len(samples):  # a later start-up time must explain more
            best = float(errors[place]), with_constants(trial, {f"efficiency.{kind}": EFFICIENCIES[place]}, source)
    return best[1]


def _errors(device: Device, kind: str, sample: Sample) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far predictions are off, in powers of e, for each of the efficiencies."""
    made = _times(sample.large, device, kind) - _times(sample.small, device, kind)
    return np.abs(np.log(np.maximum(made, 1e-9) / max(sample.seconds, 1e-9)))


def _times(workload: Workload, device: Device, kind: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds of a model for each of the efficiencies of one kind, which the device has as 1."""
    total = np.zeros(len(EFFICIENCIES))
    rate = bandwidth(device, workload.weight_nbytes)
    overlap = device.get("memory.overlap", 1.0)
    for node in workload.nodes:
        time = node_time(node, device, node.weight_nbytes * node.runs / rate)
        if node.kind != kind and not (kind == "layout" and node.layout_nbytes):
            total += time.total
            continue
        fixed = 0.0
        if kind == "layout":  # its work is part of other nodes'
            bare = node_time(replace(node, layout_nbytes=0), device, node.weight_nbytes * node.runs / rate)
            fixed = bare.compute
        compute = fixed + (time.compute - fixed) / EFFICIENCIES
        total += compute + time.memory - overlap * np.minimum(compute, time.memory) + time.overhead
    return total
