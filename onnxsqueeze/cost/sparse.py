"""Sparse against dense, layer by layer: R = W / (P·E) of storage, communication and compute, and where sparse pays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from onnxsqueeze.cost.device import Device
from onnxsqueeze.cost.formats import FORMATS, Matrix, break_even, first_sparsity, nbytes
from onnxsqueeze.cost.latency import Time, bandwidth, combined, node_time
from onnxsqueeze.cost.workload import NodeWork, WeightWork, Workload

ENTRY = 6  # bytes of a nonzero as the execution provider holds it: a float32 and a 16-bit column
KERNELS = {"gemv": "csr", "gemm": "csr_matrix", "conv": "csr_conv", "conv1x1": "csr_conv"}
"""Kinds of nodes that have a sparse kernel, and the constant in section ``sparse`` that tells its share of the peak."""


@dataclass(frozen=True)
class Resources:
    """Seconds that a layer takes of each resource: R = W / (P·E)."""

    storage: float  # to read its weights from storage
    communication: float  # to move its weights and activations from memory
    compute: float  # to multiply


@dataclass(frozen=True)
class Layer:
    """One node with a weight that is multiplied, dense and sparse on one device."""

    node: str
    weight: str
    zeros: float  # share of the weight's values
    rows: int  # outputs
    columns: int  # inputs of one output
    stored_nbytes: int  # as it lies in the file
    dense_seconds: float  # of one run
    sparse_seconds: float | None  # in the device's sparse kernel with the zeros that it has; None: there is none
    dense: Resources
    sparse: Resources | None  # None as above
    smaller_from: Mapping[str, float | None]  # by format, the share of zeros from which it takes fewer bytes than dense
    faster_from: float | None  # the share of zeros from which the device's sparse kernel is faster; None: never

    @property
    def reductions(self) -> Resources | None:
        """R_dense / R_sparse of each resource; None where the device has no sparse kernel for the layer."""
        if self.sparse is None:
            return None
        one, other = self.dense, self.sparse
        return Resources(
            _ratio(one.storage, other.storage),
            _ratio(one.communication, other.communication),
            _ratio(one.compute, other.compute),
        )


def layers(workload: Workload, device: Device) -> Iterator[Layer]:
    """Every node that multiplies a weight of 64 values or more."""
    weights = {w.name: w for w in workload.weights}
    rate = bandwidth(device, workload.weight_nbytes)
    for work in workload.nodes:
        found = [weights[name] for name in work.weights if weights[name].elements >= 64]
        if work.macs and found and work.status == "runs":
            yield _layer(work, max(found, key=lambda w: w.elements), device, rate)


def dense_time(work: NodeWork, device: Device, rate: float) -> Time:
    """Time of a node with dense weights, which are read at so many bytes a second."""
    return node_time(replace(work, nonzero_macs=work.macs, pattern=None), device, work.weight_nbytes * work.runs / rate)


def sparse_time(work: NodeWork, zeros: float, device: Device) -> Time | None:
    """Time of a node in the device's sparse kernel with a share of zeros; None where there is none for it.

    Devices that skip zeros do so in every layer; others have kernels for sparse matrices (``sparse.csr`` and so on,
    measured on the execution provider), or for weights of one pattern, such as 2:4.
    """
    nonzeros = (1 - zeros) * work.weight_elements
    if device.skips_zero_weights:
        kept = replace(work, nonzero_macs=round(work.macs * (1 - zeros)))
        packed = nonzeros * (work.bits + 4) / 8
        return node_time(kept, device, packed * work.runs / bandwidth(device, packed))
    if device.get("sparse.group", 0.0):
        return _patterned(work, zeros, device)
    share = device.get("sparse." + KERNELS.get(work.kind, "none"), 0.0)
    if not share or work.bits != 32:
        return None
    gathering = _gathered(work) * device.get("sparse.csr_gather", 0.0)
    compute = work.macs * (1 - zeros) / (device.peak(32) * share) + gathering
    held = nonzeros * ENTRY
    activations = work.input_nbytes + 2 * work.output_nbytes
    memory = held * work.runs / bandwidth(device, held) + activations / bandwidth(device, activations / work.runs)
    return combined(compute, memory, device.overhead(work.kind) * work.runs, device)


def _gathered(work: NodeWork) -> float:
    """Inputs under the kernel of a convolution, at all positions: what the sparse kernel gathers."""
    return work.macs / work.output_shape[1] if work.kind.startswith("conv") and len(work.output_shape) > 2 else 0.0


def _patterned(work: NodeWork, zeros: float, device: Device) -> Time | None:
    """Sparse tensor cores; for other weights than products they have nothing."""
    kept, group = int(device["sparse.kept"]), int(device["sparse.group"])
    if zeros < 1 - kept / group or work.kind not in KERNELS:
        return None
    packed = work.weight_nbytes * kept / group + work.weight_elements * kept / group / 4
    return node_time(replace(work, pattern=(kept, group)), device, packed * work.runs / bandwidth(device, packed))


def _layer(work: NodeWork, weight: WeightWork, device: Device, rate: float) -> Layer:
    rows, columns = _matrix(work, weight)
    dense = dense_time(work, device, rate)
    sparse = sparse_time(work, weight.zero_fraction, device)
    storage = device["memory.storage_bandwidth"] * device.get("efficiency.storage", 1.0)

    def faster(zeros: float) -> bool:
        time = sparse_time(work, zeros, device)
        return time is not None and time.total < dense.total

    return Layer(
        work.name,
        weight.name,
        weight.zero_fraction,
        rows,
        columns,
        weight.stored_nbytes,
        dense.total,
        None if sparse is None else sparse.total,
        Resources(weight.nbytes / storage, dense.memory, dense.compute),
        None if sparse is None else Resources(weight.stored_nbytes / storage, sparse.memory, sparse.compute),
        {name: break_even(name, rows, columns, weight.bits) for name in FORMATS},
        first_sparsity(faster),
    )


def _matrix(work: NodeWork, weight: WeightWork) -> tuple[int, int]:
    """Rows (outputs) and columns of a weight: convolutions and Gemm lead with the outputs, products end with them."""
    if len(weight.shape) < 2:
        return 1, weight.elements
    rows = weight.shape[0] if len(weight.shape) > 2 or work.op.endswith("Gemm") else weight.shape[-1]
    return rows, weight.elements // max(rows, 1)


def smallest(rows: int, columns: int, zeros: float, bits: int = 32) -> tuple[str, float]:
    """The format that takes the fewest bytes at a share of zeros, ``"dense"`` among them, and the bytes."""
    matrix = Matrix(rows, columns, rows * columns * (1 - zeros), bits)
    found = {"dense": matrix.elements * bits / 8} | {name: nbytes(name, matrix) for name in FORMATS}
    return min(found.items(), key=lambda item: item[1])


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.inf
