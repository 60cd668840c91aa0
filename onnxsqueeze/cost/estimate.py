"""What a workload costs on a device: bytes, joules and seconds of every node and of the whole."""

from __future__ import annotations

from dataclasses import dataclass

from onnxsqueeze.cost.decoding import seconds
from onnxsqueeze.cost.device import Device
from onnxsqueeze.cost.latency import BLOCKED, Time, bandwidth, node_time
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
    decode_seconds: float  # to decode them then; 0 where the device reads them packed, or does not tell


def estimate(workload: Workload, device: Device) -> Cost:
    """The cost of a workload on a device.

    Energy is the sum of operations and of accesses at each memory level, each times its energy. Weights that fit the
    on-chip memory cost SRAM accesses, others DRAM. Time is W / (P·E) for work W, peak P and efficiency E, for computing
    and for moving data; a node takes the longer of the two, and a fixed time to be started.
    """
    resident = sum(_resident_nbytes(w, device) for w in workload.weights)
    on_chip = resident <= device["memory.sram_bytes"]
    storage = _storage(workload)
    rate = bandwidth(device, resident)
    nodes = tuple(_node(work, storage, device, on_chip, rate) for work in workload.nodes)
    start = Time(overhead=device.get("overhead.run", 0.0), total=device.get("overhead.run", 0.0))
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
        sum((n.time for n in nodes), start),
        load,
        0.0 if device.reads_packed else sum(seconds(dict(w.decoding), device) for w in workload.weights),
    )


def _resident_nbytes(weight: WeightWork, device: Device) -> int:
    return weight.stored_nbytes if device.reads_packed else weight.nbytes


def _storage(workload: Workload) -> dict[str, float]:
    """Stored bytes per dense byte of every weight."""
    return {w.name: w.stored_nbytes / w.nbytes if w.nbytes else 1.0 for w in workload.weights}


def _node(work: NodeWork, ratios: dict[str, float], device: Device, on_chip: bool, rate: float) -> NodeCost:
    if work.status in ("folded", "uncovered"):
        return NodeCost(work, work.stored_nbytes, Traffic(), Energy(), Time())
    bits = int(device.get("compute.bits", work.bits))
    macs = _macs(work, device)
    weights = _weight_nbytes(work, ratios, device)
    activations = float(work.input_nbytes + work.output_nbytes)
    if BLOCKED in device.constants:
        activations += work.layout_nbytes
    activations = activations * bits / work.bits if work.bits else 0.0
    traffic = _traffic(work, macs, bits, weights, activations, device, on_chip)
    table = device.energy
    compute = macs * table.mac(bits) + work.operations * table.operation(bits)
    energy = Energy(compute, *(getattr(traffic, level) * table.access(level) for level in ("register", "sram", "dram")))
    return NodeCost(work, work.stored_nbytes, traffic, energy, node_time(work, device, weights / rate))


def _macs(work: NodeWork, device: Device) -> float:
    """MACs that the device executes."""
    macs = work.nonzero_macs if device.skips_zero_weights else work.macs
    density = device.get("sparse.activation_density", 1.0) if device.skips_zero_activations else 1.0
    return macs * density


def _weight_nbytes(work: NodeWork, ratios: dict[str, float], device: Device) -> float:
    """Bytes of weights that the device reads; each run of a node in a loop reads them again."""
    ratio = max((ratios[w] for w in work.weights), default=1.0) if device.reads_packed else 1.0
    return work.weight_nbytes * work.read_share * ratio * max(1, work.runs)


def _traffic(
    work: NodeWork, macs: float, bits: int, weights: float, activations: float, device: Device, on_chip: bool
) -> Traffic:
    """Weights are read once a run, activations written and read once; operands come to the registers tile by tile."""
    fits = activations <= device["memory.sram_bytes"] * max(1, work.runs)
    dram = (0.0 if on_chip else weights) + (0.0 if fits else activations)
    tile = device.get("compute.register_tile", 1.0)
    operands = 2 * macs * bits / 8 / tile if work.rows != 1 else 0.0
    return Traffic(3 * macs * bits / 8, max(weights + activations, operands), dram)
