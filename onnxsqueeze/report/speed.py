"""What a benchmark of one model has measured: tables in the terminal, and facts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from onnxsqueeze.report.tables import count, table
from onnxsqueeze.report.units import error, metric, size

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.bench import Bench, Way

NAMES = {
    "dense": "dense model, stock onnxruntime",
    "stock": "stock onnxruntime",
    "load": "runtime.load on the CPU provider",
    "provider": "runtime.load",
}


def facts(found: Bench) -> dict[str, Any]:
    """Everything that was measured, ready for JSON; seconds and bytes."""
    told = dataclasses.asdict(found)
    told["speedup"] = {over: found.speedup("provider", over) for over in ("stock", "dense")}
    return told


def show(found: Bench, console: Console) -> None:
    """Latency and memory of each way, what became of each weight, and the sum of it."""
    columns = ["way", "latency", "least", "against dense", "to open", "peak", "stays"]
    console.print(table(f"{found.source}", columns, [_row(found, way) for way in found.ways]))
    if found.layers:
        ordered = sorted(found.layers, key=lambda layer: (not layer.kernel, layer.weight))
        rows: list[tuple[str, ...]] = [
            (
                *(layer.weight, layer.op_type, layer.kernel or "dense", layer.reason, _seconds(layer.seconds)),
                *(_share(layer.input_zeros), _seconds(layer.skipping_seconds)),
            )
            for layer in ordered
        ]
        names = ["weight", "feeds", "kernel", "because", "a run takes", "zeros in input", "skipping them"]
        if not any(row[-1] for row in rows):
            names, rows = names[:-2], [row[:-2] for row in rows]
        console.print(table("Packed weights", names, rows, left=4))
    console.print(_sentence(found), soft_wrap=True)


def _row(found: Bench, way: Way) -> tuple[str, ...]:
    opened = way.opened
    relative = "as dense" if way.seconds is None else f"{found.speedup(way.name, 'dense'):.2f}x"
    memory = size(opened.peak_nbytes), size(opened.resident_nbytes)
    return (
        NAMES[way.name],
        _seconds(way.seconds),
        _seconds(way.least_seconds),
        relative,
        f"{opened.seconds:.2f} s",
        *memory,
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else metric(value, "s")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _sentence(found: Bench) -> str:
    run = sum(bool(layer.kernel) for layer in found.layers)
    threads = f"{count(found.threads, 'thread')}" if found.threads else "onnxruntime's own number of threads"
    return (
        f"{run} of {count(len(found.layers), 'packed weight')} run in the provider, which is "
        f"{found.speedup('provider'):.2f}x as fast as stock onnxruntime and differs by {error(found.error)}; medians "
        f"of {count(found.rounds, 'run')} by turns, {threads}, inputs {found.inputs}; the dense model is "
        f"{found.against}"
    )
