"""Seconds of one node: R = W / (P·E) for work W, peak P and efficiency E, of computing and of moving data."""

from __future__ import annotations

from dataclasses import dataclass

from onnxsqueeze.cost.device import MOVES, PRODUCTS, Device
from onnxsqueeze.cost.workload import NodeWork

BLOCKED = "efficiency.layout"
"""A device with this constant runs onnxruntime's kernels for the CPU: it changes layouts, and computes whole blocks."""


@dataclass(frozen=True)
class Time:
    """Seconds of one inference, by part; parts that overlap count once in the total."""

    compute: float = 0.0
    memory: float = 0.0
    overhead: float = 0.0
    total: float = 0.0

    def __add__(self, other: Time) -> Time:
        return Time(
            self.compute + other.compute,
            self.memory + other.memory,
            self.overhead + other.overhead,
            self.total + other.total,
        )


def combined(compute: float, memory: float, overhead: float, device: Device) -> Time:
    """The parts together: of computing and moving, ``memory.overlap`` of the shorter one hides behind the longer."""
    hidden = device.get("memory.overlap", 1.0) * min(compute, memory)
    return Time(compute, memory, overhead, compute + memory - hidden + overhead)


def node_time(work: NodeWork, device: Device, weight_seconds: float) -> Time:
    """The time of a node, whose weights take so long to be read."""
    if work.status in ("folded", "uncovered") or work.runs == 0:
        return Time()
    overhead = 0.0 if work.status == "fused" else device.overhead(work.kind) * work.runs
    return combined(_compute(work, device), weight_seconds + _activations(work, device), overhead, device)


def _compute(work: NodeWork, device: Device) -> float:
    """Seconds of arithmetic; of nodes that only move data, on devices that know their rates, by elements."""
    peak = device.peak(int(device.get("compute.bits", work.bits)))
    word = max(work.bits, 8) / 8
    seconds = 0.0
    if work.kind in PRODUCTS:
        seconds = executed_macs(work, device) / (peak * device.efficiency(work.kind))
    elif work.status != "fused" and work.kind in MOVES:
        if "efficiency." + work.kind in device.constants:
            seconds = (work.input_nbytes + work.output_nbytes) / 2 / word / (peak * device.efficiency(work.kind))
    elif work.status != "fused":
        seconds = work.operations / (peak * device.efficiency(work.kind))
    if work.layout_nbytes and BLOCKED in device.constants:
        seconds += work.layout_nbytes / 2 / word / (peak * device.efficiency("layout"))
    return seconds


def executed_macs(work: NodeWork, device: Device) -> float:
    """Dense MACs that take as long as those that the device executes."""
    if device.skips_zero_weights:
        density = device.get("sparse.activation_density", 1.0) if device.skips_zero_activations else 1.0
        return work.nonzero_macs * density
    if work.pattern and device.get("sparse.group", 0.0):
        kept, group = work.pattern
        if kept <= device["sparse.kept"] and group == device["sparse.group"]:
            return work.macs / (device["sparse.peak"] * device["sparse.efficiency"])
    return work.macs * (work.padding if BLOCKED in device.constants else 1.0)


def bandwidth(device: Device, nbytes: float) -> float:
    """Bytes a second of the smallest memory that holds so many bytes, such as all weights of a model."""
    if nbytes <= device.get("memory.cache_bytes", 0.0):
        return device.get("memory.cache_bandwidth", float("inf"))
    if nbytes <= device["memory.sram_bytes"]:
        return device.get("memory.sram_bandwidth", float("inf"))
    return device["memory.dram_bandwidth"] * device.get("efficiency.dram", 1.0)


def _activations(work: NodeWork, device: Device) -> float:
    """Seconds to move activations, at the speed of the smallest memory that holds those of one run.

    What is written is moved twice: caches read a line before they change it.
    """
    nbytes = work.input_nbytes + work.output_nbytes
    return (nbytes + work.output_nbytes) / bandwidth(device, nbytes / work.runs)
