"""A profile of this machine: small models of each kind are run, and the constants that explain their times kept."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxsqueeze.cost import probes
from onnxsqueeze.cost.analyse import analyse
from onnxsqueeze.cost.device import DEFAULT, KINDS, Device, load_device
from onnxsqueeze.cost.fit import Sample, fitted, predicted, with_constants
from onnxsqueeze.cost.kernels import decode_rates, sparse_rates
from onnxsqueeze.cost.measure import seconds, session
from onnxsqueeze.cost.probes import Probe

BUDGET = 10.0  # seconds that running probes may take
CACHE = 1 << 20  # where the system does not tell
SETS = (1 << 19, 1 << 23, 1 << 25, 1 << 27)  # bytes of weights that are streamed


@dataclass(frozen=True)
class Calibration:
    """A profile, and how well it explains what was measured."""

    device: Device
    threads: int
    taken: float  # seconds
    rows: tuple[tuple[str, str, float, float], ...]  # kind, probe, seconds a node measured, and as the profile says


def calibrate(threads: int = 1, progress: Callable[[str, int, int], None] | None = None) -> Calibration:
    """Measures this machine with so many threads; ``progress`` hears what is measured, its number and their count."""
    started = time.perf_counter()
    source = f"measured on {machine()}, {threads} thread{'s' * (threads > 1)}, {time.strftime('%Y-%m-%d')}"
    steps = _Steps(progress, len(probes.PROBES) + len(SETS) + 4)
    device = _memory(_blank(source), threads, source, steps)
    samples = [_sample(probe, threads, steps) for probe in probes.PROBES]
    device = _peak(device, samples, source)
    for kind in dict.fromkeys(s.kind for s in samples):
        device = fitted(device, kind, [s for s in samples if s.kind == kind], source)
    steps("sparse kernels")
    start = device["overhead.run"] + device["overhead.node"]
    device = with_constants(device, sparse_rates(device["compute.float32"], start, threads), source)
    steps("decoders")
    device = with_constants(device, decode_rates(), source)
    rows = tuple(_row(device, sample) for sample in samples)
    return Calibration(device, threads, time.perf_counter() - started, rows)


def machine() -> str:
    """Processor, cores and the version of onnxruntime."""
    import onnxruntime

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or platform.machine())}, onnxruntime {onnxruntime.__version__}"


class _Steps:
    """Tells of progress."""

    def __init__(self, progress: Callable[[str, int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, what: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(what, min(self._done, self._total), self._total)


def _blank(source: str) -> Device:
    """The usual profile without what will be measured."""
    usual = load_device(DEFAULT)
    kept = {k: c for k, c in usual.constants.items() if not k.startswith(("efficiency.", "overhead."))}
    blank = Device(machine(), "calibrated on this machine", usual.energy, kept)
    values = {"efficiency.default": 1.0, "overhead.node": 0.0, "memory.overlap": 0.5, "efficiency.layout": 1.0}
    values |= {f"efficiency.{kind}": 1.0 for kind in KINDS}
    return with_constants(blank, values, source)


def _run(model: Any, threads: int, budget: float) -> float:
    opened = session(model.SerializeToString(), threads)
    feeds = dict(probes.inputs(model))
    return seconds(lambda: opened.run(None, feeds), budget, threads)


def _sample(probe: Probe, threads: int, steps: _Steps) -> Sample:
    """The marginal time of the nodes that the larger model of a probe has more."""
    steps(f"{probe.kind}: {probe.what}")
    models = [probe.build(count) for count in probe.counts]
    budget = BUDGET / len(probes.PROBES) / 2
    small, large = (_run(model, threads, budget) for model in models)
    return Sample(probe.kind, probe.what, max(large - small, 1e-9), analyse(models[0]), analyse(models[1]))


def _memory(device: Device, threads: int, source: str, steps: _Steps) -> Device:
    """Bandwidths of cache, on-chip memory and DRAM, by reading weights of growing size; start-up times; storage."""
    steps("start of a run")
    start, many = (_run(probes.TINY.build(count), threads, 0.05) for count in probes.TINY.counts)
    node = max(0.0, (many - start) / (probes.TINY.counts[1] - probes.TINY.counts[0]))
    rates = {}
    for nbytes in SETS:
        steps(f"memory: {nbytes >> 10:,} kB of weights")
        taken = _run(probes.streams(nbytes).build(probes.LAYERS), threads, 0.3)
        rates[nbytes] = nbytes / max(taken - start - node * (probes.LAYERS - 1), taken / 4)
    middle = (rates[SETS[1]] * rates[SETS[-1]]) ** 0.5
    values = {
        "memory.cache_bytes": _cache_nbytes(),
        "memory.cache_bandwidth": rates[SETS[0]],
        "memory.sram_bytes": max(size for size, rate in rates.items() if rate >= middle),
        "memory.sram_bandwidth": rates[SETS[1]],
        "memory.dram_bandwidth": rates[SETS[-1]],
        "overhead.node": node,
        "overhead.run": max(0.0, start - node),
    }
    steps("storage")
    return with_constants(device, values | {"memory.storage_bandwidth": _storage_bandwidth()}, source)


def _cache_nbytes() -> float:
    """Bytes of the second-level cache of one core."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    try:
        text = path.read_text(encoding="ascii").strip()
        return float(int(text[:-1]) << {"K": 10, "M": 20}[text[-1]])
    except (OSError, ValueError, KeyError):
        return float(CACHE)


def _storage_bandwidth(nbytes: int = 1 << 25) -> float:
    """Bytes a second read from the temporary folder's device, past the system's cache where that can be asked for."""
    with tempfile.NamedTemporaryFile(prefix="onnxsqueeze-") as file:
        file.write(os.urandom(1 << 20) * (nbytes >> 20))
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = time.perf_counter()
        with Path(file.name).open("rb") as again:
            while again.read(1 << 20):
                pass
        return nbytes / (time.perf_counter() - before)


def _peak(device: Device, samples: list[Sample], source: str) -> Device:
    """The most MACs a second that any probe reached."""
    best = max((s.large.macs - s.small.macs) / s.seconds for s in samples if s.kind in ("gemm", "conv", "conv1x1"))
    return with_constants(device, {"compute.float32": best}, source)


def _row(device: Device, sample: Sample) -> tuple[str, str, float, float]:
    more = len([n for n in sample.large.nodes if n.status == "runs"]) - len(
        [n for n in sample.small.nodes if n.status == "runs"]
    )
    made = predicted(sample.large, device) - predicted(sample.small, device)
    return sample.kind, sample.what, sample.seconds / max(more, 1), made / max(more, 1)


def written(calibration: Calibration) -> Iterator[str]:
    """The lines of the profile's TOML file."""
    device = calibration.device
    yield "# Measured by onnxsqueeze calibrate. Rates are MACs, bytes and values a second."
    yield "# Efficiencies are shares of the peak."
    yield f'name = "{_escaped(device.name)}"'
    yield f'description = "this machine, {calibration.threads} thread(s); predicts the time of onnxruntime on the CPU"'
    yield f'\n[energy]\ntable = "{device.energy.name}"'
    sections: dict[str, list[str]] = {}
    for key, constant in device.constants.items():
        section, name = key.split(".", 1)
        sections.setdefault(section, []).append(
            f'{name} = {{ value = {constant.value:.6g}, source = "{_escaped(constant.source)}" }}'
        )
    for section, lines in sorted(sections.items()):
        yield f"\n[{section}]"
        yield from lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
