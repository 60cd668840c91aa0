"""Runs every pipeline of a grid on one model, several at a time, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from onnxsqueeze.compress import resolve
from onnxsqueeze.errors import ModelError, PipelineError
from onnxsqueeze.model.dense import file_nbytes
from onnxsqueeze.model.load import parse
from onnxsqueeze.pipeline.context import Progress, Silent
from onnxsqueeze.pipeline.staging import staging
from onnxsqueeze.sweep.front import front, knee
from onnxsqueeze.sweep.grid import expand
from onnxsqueeze.sweep.point import Point
from onnxsqueeze.sweep.record import Record, open_record
from onnxsqueeze.sweep.worker import Request, Worker

MEMORY = 0.5  # share of the machine's memory that all runs together may take
RUN_NBYTES, RUN_FACTOR = 600 << 20, 5  # what one run took at most on the zoo: this, and so many times the model


@dataclass(frozen=True)
class Sweep:
    """All points, and which of them are worth having."""

    source: str
    original_nbytes: int
    inputs: str  # what the outputs were compared on
    points: tuple[Point, ...]  # in the order of the grid, then those that the folder held before
    front: tuple[int, ...]  # indices of points, by growing size
    knee: int | None  # index of a point; None where no outputs could be compared
    reused: int  # points that were measured before

    def ratio(self, point: Point) -> float:
        """How many times smaller the point's model is."""
        return self.original_nbytes / point.nbytes


def sweep(
    model: str | os.PathLike[str],
    grids: Sequence[str],
    *,
    inputs: str | os.PathLike[str] | None = None,
    seed: int = 0,
    jobs: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Tries every pipeline that the grids stand for (see ``onnxsqueeze.sweep.grid``) and finds the Pareto front.

    Args:
        model: path of an ONNX file, or ``zoo:NAME``.
        grids: such as ``prune{sparsity=0.3..0.9}|share{bits=3..8}``.
        inputs: ``.npz`` file to compare outputs on; None makes some from the signature.
        seed: of everything that is drawn.
        jobs: pipelines at a time, fewer where memory would not do; None for one a core.
        folder: where the models of the front are kept, beside a record by which a sweep goes on after a break; made
            where it is not there. Sweeps of one model in one folder add up.
        progress: told of every pipeline.

    Raises:
        SqueezeError: the grid or the model cannot be used, or no pipeline gave a result.
    """
    from onnxsqueeze.passes import PASSES

    pipelines = expand(grids, PASSES)
    if jobs is not None and jobs < 1:
        raise PipelineError(f"jobs must be at least 1, not {jobs}")
    source = resolve(model)
    nbytes = file_nbytes(source)
    given = None if inputs is None else Path(inputs)
    _check_inputs(source, given)
    record = open_record(folder, source, given, seed)
    missing = [passes for passes in pipelines if record.known(passes) is None]
    cores = jobs or os.cpu_count() or 1
    workers = min(cores, max(1, int(_memory() * MEMORY / (RUN_NBYTES + RUN_FACTOR * nbytes))))
    with staging(record.path) as drafts:
        threads = max(1, cores // workers)
        feeds = None if given is None else str(given)
        requests = [
            Request(str(source), str(drafts / str(i)), passes, feeds, seed, threads) for i, passes in enumerate(missing)
        ]
        _run_all(requests, workers, record, progress or Silent())
    points = [record.points[passes] for passes in dict.fromkeys([*pipelines, *record.points])]
    if all(point.problem for point in points):
        raise ModelError(points[0].problem)
    return _ranked(str(model), nbytes, str(given or "made from the signature"), points, len(pipelines) - len(missing))


def _ranked(source: str, nbytes: int, origin: str, points: Sequence[Point], reused: int) -> Sweep:
    placed = [(i, place) for i, point in enumerate(points) if (place := point.place) is not None]
    best = [placed[i] for i in front([place for _, place in placed])]
    chosen = best[knee([place for _, place in best])][0] if best else None
    return Sweep(source, nbytes, origin, tuple(points), tuple(i for i, _ in best), chosen, reused)


def _check_inputs(source: Path, inputs: Path | None) -> None:
    """Refuses inputs that cannot be read or are not the model's, before any pipeline is run."""
    from onnxsqueeze.verify import signature

    if inputs is not None:
        signature.check(parse(source), signature.read(str(inputs)), str(inputs))


def _memory() -> int:
    """Bytes of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def _run_all(requests: Sequence[Request], workers: int, record: Record, progress: Progress) -> None:
    """Puts what the pipelines come to into the record, as they are done."""
    progress.start("sweep", len(requests))
    idle: SimpleQueue[Worker] = SimpleQueue()
    made = [Worker() for _ in range(min(workers, len(requests)))]
    for worker in made:
        idle.put(worker)

    def ask(request: Request) -> tuple[Request, Point]:
        worker = idle.get()
        try:
            return request, worker.ask(request)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(made) or 1)
    try:
        for done in as_completed([pool.submit(ask, request) for request in requests]):
            request, point = done.result()
            record.add(point, Path(request.folder))
            progress.advance(request.passes)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in made:
            worker.close()
        progress.finish()
