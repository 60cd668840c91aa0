"""What a workload costs on a device: bytes, joules and seconds of every node and of the whole."""

from __future__ import annotations

from dataclasses import dataclass

from onnxsqueeze.cost.device import Device
from onnxsqueeze.cost.workload import NodeWork, WeightWork, Workload


@dataclass(frozen=True)
class Traffic:
    """Bytes moved in one inference, by memory level."""

    register: float = 0.0
    sram: float = 0.0
    dram: float = 0.0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.register + other.register, self.sram + other.sram, self.dram + other.dram)


@dataclass(frozen=True)
class Energy:
    """Joules of one inference, by part."""

    compute: float = 0.0
    register: float = 0.0
    sram: float = 0.0
    dram: float = 0.0

    @property
    def total(self) -> float:
        """All parts together."""
        return self.compute + self.register + self.sram + self.dram

    def __add__(self, other: Energy) -> Energy:
        return Energy(
            self.compute + other.compute, self.register + other.register, self.sram + other.sram, self.dram + other.dram
        )


@dataclass(frozen=True)
class Time:
    """Seconds of one inference, by part; computing and moving data overlap within a node, so that the longer counts."""

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


@dataclass(frozen=True)
class NodeCost:
    """The cost of one node."""

    work: NodeWork
    storage_nbytes: int
    traffic: Traffic
    energy: Energy
    time: Time


@dataclass(frozen=True)
class Cost:
    """The cost of a model on a device."""

    device: Device
    workload: Workload
    nodes: tuple[NodeCost, ...]
    storage_nbytes: int  # of all weights in the file
    resident_nbytes: int  # of all weights as the device holds them while it runs
    on_chip: bool  # whether they fit its SRAM, so that no run reads them from DRAM
    traffic: Traffic
    energy: Energy
    time: Time
    load_seconds: float  # to read the weights from storage


def estimate(workload: Workload, device: Device) -> Cost:
    """The cost of a workload on a device.

    Energy is the sum of operations and of accesses at each memory level, each times its energy. Weights that fit the
    on-chip memory cost SRAM accesses, others DRAM. Time is W / (P·E) for work W, peak P and efficiency E, for computing
    and for moving data; a node takes the longer of the two, and a fixed time to be started.
    """
    resident = sum(_resident_nbytes(w, device) for w in workload.weights)
    on_chip = resident <= device["memory.sram_bytes"]
    storage = _storage(workload)
    nodes = tuple(_node(work, storage, device, on_chip) for work in workload.nodes)
    load = workload.stored_nbytes / (device["memory.storage_bandwidth"] * device.get("efficiency.storage", 1.0))
    return Cost(
        device,
        workload,
        nodes,
        workload.stored_nbytes,
        resident,
        on_chip,
        sum((n.traffic for n in nodes), Traffic()),
        sum((n.energy for n in nodes), Energy()),
        sum((n.time for n in nodes), Time()),
        load,
    )


def _resident_nbytes(weight: WeightWork, device: Device) -> int:
    return weight.stored_nbytes if device.reads_packed else weight.nbytes


def _storage(workload: Workload) -> dict[str, float]:
    """Stored bytes per dense byte of every weight."""
    return {w.name: w.stored_nbytes / w.nbytes if w.nbytes else 1.0 for w in workload.weights}


def _node(work: NodeWork, ratios: dict[str, float], device: Device, on_chip: bool) -> NodeCost:
    if work.status in ("folded", "uncovered"):
        return NodeCost(work, work.stored_nbytes, Traffic(), Energy(), Time())
    macs = _macs(work, device)
    traffic = _traffic(work, macs, ratios, device, on_chip)
    table = device.energy
    compute = macs * table.mac(work.bits) + work.operations * table.operation(work.bits)
    energy = Energy(compute, *(getattr(traffic, level) * table.access(level) for level in ("register", "sram", "dram")))
    return NodeCost(work, work.stored_nbytes, traffic, energy, _time(work, macs, traffic, device))


def _macs(work: NodeWork, device: Device) -> float:
    """MACs that the device executes."""
    macs = work.nonzero_macs if device.skips_zero_weights else work.macs
    density = device.get("sparse.activation_density", 1.0) if device.skips_zero_activations else 1.0
    return macs * density


def _traffic(work: NodeWork, macs: float, ratios: dict[str, float], device: Device, on_chip: bool) -> Traffic:
    """Weights are read once a run, activations written and read once; operands come to the registers tile by tile."""
    ratio = max((ratios[w] for w in work.weights), default=1.0) if device.reads_packed else 1.0
    weights = work.weight_nbytes * work.read_share * ratio * max(1, work.runs)
    activations = work.input_nbytes + work.output_nbytes
    fits = activations <= device["memory.sram_bytes"] * max(1, work.runs)
    dram = (0.0 if on_chip else weights) + (0.0 if fits else activations)
    word = work.bits / 8
    tile = device.get("compute.register_tile", 1.0)
    sram = max(weights + activations, 2 * macs * word / tile if work.rows != 1 else 0.0)
    return Traffic(3 * macs * word, sram, dram)


def _time(work: NodeWork, macs: float, traffic: Traffic, device: Device) -> Time:
    rate = device.peak(work.bits) * device.efficiency(work.kind)
    compute = (macs + work.operations) / rate
    bandwidth = device["memory.dram_bandwidth"] * device.get("efficiency.dram", 1.0)
    memory = traffic.dram / bandwidth
    if "memory.sram_bandwidth" in device.constants:
        memory = max(memory, traffic.sram / device["memory.sram_bandwidth"])
    overhead = 0.0 if work.status == "fused" else device["overhead.node"] * work.runs
    return Time(compute, memory, overhead, max(compute, memory) + overhead)
