"""Measures one compressed model in all the ways that it can be run."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from onnxsqueeze.bench.layers import Layer, layers
from onnxsqueeze.bench.session import WAYS, Opened, open_session, opened
from onnxsqueeze.compress import resolve
from onnxsqueeze.errors import ModelError, PipelineError, SqueezeError
from onnxsqueeze.pipeline.context import Progress, Silent
from onnxsqueeze.verify import signature
from onnxsqueeze.verify.fidelity import compare

LEAST_ROUNDS, MOST_ROUNDS = 5, 10_000
SAMPLES = 4  # input sets, where they are made up
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")


@dataclass(frozen=True)
class Way:
    """One way to run the model."""

    name: str  # dense, stock, load or provider
    file: str
    opened: Opened
    seconds: float | None  # median latency of a run; None: as dense, once opened
    least_seconds: float | None


@dataclass(frozen=True)
class Bench:
    """What was measured, on what."""

    source: str
    against: str  # the dense model, in words
    inputs: str
    threads: int  # 0: onnxruntime's choice
    rounds: int
    ways: tuple[Way, ...]
    layers: tuple[Layer, ...]
    error: float  # largest relative error of the provider's outputs against stock onnxruntime's

    def way(self, name: str) -> Way:
        """The way of that name."""
        return next(way for way in self.ways if way.name == name)

    def speedup(self, name: str, over: str = "stock") -> float:
        """How many times faster one way runs than another."""
        fast, slow = self.way(name).seconds, self.way(over).seconds
        assert fast is not None and slow is not None
        return slow / fast


def bench(
    model: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    *,
    inputs: str | None = None,
    threads: int = 0,
    seconds: float = 5.0,
    kernel: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> Bench:
    """Latency and memory of a compressed model: dense, in stock onnxruntime, and with the execution provider.

    The sessions run by turns in one process, so that what else the machine does falls on all alike. What it takes to
    create each is measured in fresh processes.

    Args:
        model: path of a compressed model, or ``zoo:NAME``.
        against: the dense original; None for the compressed model, unpacked.
        inputs: ``.npz`` file with one array an input; None: made from the signature.
        threads: of onnxruntime; 0 for its own choice.
        seconds: to spend on measuring latency.
        kernel: see ``onnxsqueeze.runtime.session_options``.
        seed: of made inputs.
        progress: told what is going on.

    Raises:
        SqueezeError: a file is missing, corrupt or does not run, or onnxruntime takes no plugin providers.
    """
    path, progress = resolve(model), progress or Silent()
    for name, value in (("threads", threads), ("seconds", seconds), ("seed", seed)):
        if value < 0:
            raise PipelineError(f"{name} must be at least 0, not {value}")
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-bench-") as folder:
        dense, words = _dense(path, None if against is None else resolve(against), Path(folder))
        feeds, origin = _feeds(dense, inputs, seed)
        files = {way: dense if way == "dense" else path for way in WAYS}
        takes = dict(_opened(files, threads, kernel, progress))
        sessions = {way: _session(way, files[way], threads, kernel) for way in ("dense", "stock", "provider")}
        error = _error(sessions["stock"], sessions["provider"], feeds)
        times = _latencies(sessions, feeds, seconds, progress)
        found = layers(path, [feeds[i % len(feeds)] for i in range(LEAST_ROUNDS)], threads, kernel, Path(folder))
    ways = tuple(
        Way(
            way,
            str(against or "") if way == "dense" else str(model),
            takes[way],
            median(times[way]) if way in times else None,
            min(times[way]) if way in times else None,
        )
        for way in WAYS
    )
    return Bench(str(model), words, origin, threads, len(times["stock"]), ways, tuple(found), error)


def _dense(path: Path, against: Path | None, folder: Path) -> tuple[Path, str]:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline.unpack import unpack_file

    if not Model.load(path).is_packed:
        raise ModelError(f"'{path}' holds no packed weights; give a model that onnxsqueeze has compressed")
    if against is not None:
        _check_inputs(path, against)
        return against, str(against)
    unpack_file(path, folder / "dense.onnx")
    return folder / "dense.onnx", "the same model, unpacked"


def _check_inputs(path: Path, against: Path) -> None:
    """Raises ModelError where two models cannot run on the same inputs."""
    from onnxsqueeze.model.load import parse

    if found := signature.difference(parse(against), parse(path)):
        raise ModelError(f"'{against}' takes other inputs than '{path}': {found}; give its dense original")


def _feeds(dense: Path, inputs: str | None, seed: int) -> tuple[list[dict[str, Any]], str]:
    from onnxsqueeze.model.load import parse

    if inputs is not None:
        return signature.check(parse(dense), signature.read(inputs), inputs), inputs
    made = signature.make(_session("dense", dense, 0, "auto"), parse(dense), seed, SAMPLES)
    return made, "made from the signature"


def _session(way: str, path: Path, threads: int, kernel: str) -> Any:
    try:
        return open_session(way, str(path), threads, kernel)
    except SqueezeError:
        raise
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise ModelError(f"onnxruntime does not open '{path.name}' ({way}): {str(error).splitlines()[0]}") from error


def _opened(files: dict[str, Path], threads: int, kernel: str, progress: Progress) -> Iterator[tuple[str, Opened]]:
    progress.start("open", len(files))
    for way, path in files.items():
        yield way, opened(way, path, threads, kernel)
        progress.advance(way)
    progress.finish()


def _error(stock: Any, provider: Any, feeds: Sequence[dict[str, Any]]) -> float:
    """The largest relative error of all float outputs."""
    expected, found = ([session.run(None, feed) for feed in feeds] for session in (stock, provider))
    floats = [(i, o.name) for i, o in enumerate(stock.get_outputs()) if o.type in FLOATS]
    errors = [compare(name, [e[i] for e in expected], [f[i] for f in found]).relative_error for i, name in floats]
    return max((error for error in errors if not math.isnan(error)), default=0.0)


def _latencies(
    sessions: dict[str, Any], feeds: Sequence[dict[str, Any]], budget: float, progress: Progress
) -> dict[str, list[float]]:
    """Seconds of each run; every round runs each session once, on the same inputs."""
    times: dict[str, list[float]] = {way: [] for way in sessions}
    end = time.perf_counter() + budget
    progress.start("run", 0)
    for number in range(MOST_ROUNDS):
        feed = feeds[number % len(feeds)]
        for way, session in sessions.items():
            started = time.perf_counter()
            session.run(None, feed)
            times[way].append(time.perf_counter() - started)
        if number == 0:
            for taken in times.values():
                taken.clear()  # the first run sets up memory
        progress.advance(f"round {number + 1}")
        if number >= LEAST_ROUNDS and time.perf_counter() > end:
            break
    progress.finish()
    return times
