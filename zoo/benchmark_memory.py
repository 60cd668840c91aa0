"""What it takes to open a sparse network: seconds and memory, dense, stock, decoded at load, and in the provider."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

WAYS = {"dense": "dense", "stock": "stock, folded", "load": "load on the CPU", "provider": "provider"}
MEMORY_NETWORKS = {"BERT-shaped, 4 layers": "transformer", "ResNet-50-shaped": "resnet50"}
MEGA = 1e6


def memory() -> Iterator[str]:
    """Seconds, peak and resident MB over those of the process before, each in a fresh one; one thread."""
    from onnxsqueeze.bench.session import opened
    from onnxsqueeze.zoo.benchmark import header, row
    from onnxsqueeze.zoo.benchmark_kernels import network, packed_of

    yield header("network (90 % zeros)", "dense MB", "packed MB", *(f"{way}: s, peak, stays" for way in WAYS.values()))
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        for name, graph in MEMORY_NETWORKS.items():
            dense, packed = Path(folder) / "dense.onnx", Path(folder) / "packed.onnx"
            model = network(graph, 0.9)
            onnx.save(model, dense)
            packed.write_bytes(packed_of(model).SerializeToString())
            sizes = [f"{path.stat().st_size / MEGA:.1f}" for path in (dense, packed)]
            cells = []
            for way in WAYS:
                found = opened(way, dense if way == "dense" else packed, 1, "auto")
                amounts = f"{found.peak_nbytes / MEGA:.0f}, {found.resident_nbytes / MEGA:.0f}"
                cells.append(f"{found.seconds:.2f}, {amounts}")
            yield row(name, *sizes, *cells)
