"""What a model costs to store, move and run: bytes, joules and seconds, per node and in total.

from onnxsqueeze import cost

workload = cost.analyse("model.onnx", {"image": (1, 3, 224, 224)})
found = cost.estimate(workload, cost.load_device("mobile-soc"))
print(found.storage_nbytes, found.energy.total, found.time.total)

``cost.figures(model, device)`` gives the four numbers that budgets are about.
"""

from onnxsqueeze.cost.analyse import analyse
from onnxsqueeze.cost.device import Constant, Device, devices, load_device
from onnxsqueeze.cost.energy import EnergyTable, energy_table, energy_tables
from onnxsqueeze.cost.estimate import Cost, Energy, NodeCost, Traffic, estimate
from onnxsqueeze.cost.figures import Figures, figures
from onnxsqueeze.cost.latency import Time
from onnxsqueeze.cost.sparse import Layer, Resources, layers
from onnxsqueeze.cost.workload import NodeWork, WeightWork, Workload

__all__ = [
    "Constant",
    "Cost",
    "Device",
    "Energy",
    "EnergyTable",
    "Figures",
    "Layer",
    "NodeCost",
    "NodeWork",
    "Resources",
    "Time",
    "Traffic",
    "WeightWork",
    "Workload",
    "analyse",
    "devices",
    "energy_table",
    "energy_tables",
    "estimate",
    "figures",
    "layers",
    "load_device",
]
