"""What calibration has measured: a table in the terminal, and facts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from onnxsqueeze.report.tables import table, visible
from onnxsqueeze.report.units import metric

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.cost.calibrate import Calibration


def facts(found: Calibration) -> dict[str, Any]:
    """Constants with their sources, and each measurement beside what the profile says of it; seconds."""
    return {
        "machine": found.device.name,
        "threads": found.threads,
        "seconds": found.taken,
        "constants": {key: dataclasses.asdict(constant) for key, constant in found.device.constants.items()},
        "probes": [
            {"kind": kind, "probe": what, "measured": measured, "predicted": predicted}
            for kind, what, measured, predicted in found.rows
        ],
    }


def show(found: Calibration, output: str, console: Console) -> None:
    """Every probe, the memories and peaks, and how to use the profile."""
    rows = [
        (kind, what, metric(measured, "s"), metric(predicted, "s"), f"{predicted / measured:.2f}")
        for kind, what, measured, predicted in found.rows
    ]
    console.print(table("One operator", ["kind", "probe", "measured", "by the profile", "ratio"], rows, left=2))
    console.print(table("Rates", ["", "a second"], list(_rates(found)), left=1))
    line = f"{found.device.name}: wrote {output} in {found.taken:.1f} s; use it with --device {output}"
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _rates(found: Calibration) -> list[tuple[str, str]]:
    device = found.device
    rows = [
        ("peak of dense kernels", f"{device['compute.float32'] / 1e9:.1f} G MACs"),
        ("memory", metric(device["memory.dram_bandwidth"], "B")),
        (f"on-chip memory, {device['memory.sram_bytes'] / 1e6:.0f} MB", metric(device["memory.sram_bandwidth"], "B")),
        (f"cache, {device['memory.cache_bytes'] / 1e6:.1f} MB", metric(device["memory.cache_bandwidth"], "B")),
        ("storage", metric(device["memory.storage_bandwidth"], "B")),
    ]
    for key, label in (("csr", "vector"), ("csr_matrix", "matrix"), ("csr_conv", "convolution")):
        if f"sparse.{key}" in device.constants:
            rate = device[f"sparse.{key}"] * device["compute.float32"]
            rows.append((f"sparse kernel, {label}", f"{rate / 1e9:.1f} G MACs"))
    return rows
