"""What a workload costs on a device: bytes, joules and seconds of every node and of the whole."""

from __future__ import annotations

from dataclasses import dataclass

from onnxsqueeze.cost.device import Device
from onnxsqueeze.cost.workload import NodeWork, Workload


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
    """The cost of a workload on a device."""
    raise NotImplementedError
