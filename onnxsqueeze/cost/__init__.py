"""What a model costs to store, move and run: bytes, joules and seconds, per node and in total.

from onnxsqueeze import cost

workload = cost.analyse("model.onnx", {"image": (1, 3, 224, 224)})
found = cost.estimate(workload, cost.load_device("mobile-soc"))
print(found.storage_nbytes, found.energy.total, found.time.total)
"""

from onnxsqueeze.cost.analyse import analyse
from onnxsqueeze.cost.device import Constant, Device, devices, load_device
from onnxsqueeze.cost.energy import EnergyTable, energy_table, energy_tables
from onnxsqueeze.cost.estimate import Cost, Energy, NodeCost, Traffic, estimate
from onnxsqueeze.cost.latency import Time
from onnxsqueeze.cost.workload import NodeWork, WeightWork, Workload

__all__ = [
    "Constant",
    "Cost",
    "Device",
    "Energy",
    "EnergyTable",
    "NodeCost",
    "NodeWork",
    "Time",
    "Traffic",
    "WeightWork",
    "Workload",
    "analyse",
    "devices",
    "energy_table",
    "energy_tables",
    "estimate",
    "load_device",
]
