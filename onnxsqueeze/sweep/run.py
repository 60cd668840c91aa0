"""Runs every pipeline of a grid on one model, several at a time, each in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from onnxsqueeze.compress import Result, compress, resolve
from onnxsqueeze.errors import ModelError, PipelineError, SqueezeError
from onnxsqueeze.model.dense import file_nbytes
from onnxsqueeze.model.load import parse
from onnxsqueeze.pipeline.context import Progress, Silent
from onnxsqueeze.pipeline.staging import staging
from onnxsqueeze.sweep.front import front, knee
from onnxsqueeze.sweep.grid import expand
from onnxsqueeze.sweep.point import Point
from onnxsqueeze.sweep.record import Record, open_record

Inputs = str | os.PathLike[str] | Sequence[Mapping[str, Any]] | None

MEMORY = 0.5  # share of the machine's memory that all runs together may take
RUN_NBYTES, RUN_FACTOR = 200 << 20, 12  # what one run takes at most: this, and so many times the model (measured)


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
    inputs: Inputs = None,
    seed: int = 0,
    jobs: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Tries every pipeline that the grids stand for (see ``onnxsqueeze.sweep.grid``) and finds the Pareto front.

    Args:
        model: path of an ONNX file, or ``zoo:NAME``.
        grids: such as ``prune{sparsity=0.3..0.9}|share{bits=3..8}``.
        inputs: ``.npz`` file or feeds to compare outputs on; None makes some from the signature.
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
    nbytes = file_nbytes(source, parse(source))
    _check_inputs(source, inputs)
    record = open_record(folder, source, inputs, seed)
    missing = [passes for passes in pipelines if record.known(passes) is None]
    workers = min(jobs or os.cpu_count() or 1, max(1, int(_memory() * MEMORY / (RUN_NBYTES + RUN_FACTOR * nbytes))))
    with staging(record.path) as drafts:
        runs = [_Run(source, drafts / str(i), passes, inputs, seed) for i, passes in enumerate(missing)]
        _run_all(runs, workers, jobs, record, progress or Silent())
    points = [record.points[passes] for passes in dict.fromkeys([*pipelines, *record.points])]
    if all(point.problem for point in points):
        raise ModelError(points[0].problem)
    return _ranked(str(model), nbytes, _origin(inputs), points, len(pipelines) - len(missing))


def _ranked(source: str, nbytes: int, origin: str, points: Sequence[Point], reused: int) -> Sweep:
    placed = [(i, place) for i, point in enumerate(points) if (place := point.place) is not None]
    best = [placed[i] for i in front([place for _, place in placed])]
    chosen = best[knee([place for _, place in best])][0] if best else None
    return Sweep(source, nbytes, origin, tuple(points), tuple(i for i, _ in best), chosen, reused)


def _check_inputs(source: Path, inputs: Inputs) -> None:
    """Refuses inputs that cannot be read or are not the model's, before any pipeline is run."""
    from onnxsqueeze.verify import signature

    if isinstance(inputs, str | os.PathLike):
        signature.check(parse(source), signature.read(os.fspath(inputs)), os.fspath(inputs))


def _origin(inputs: Inputs) -> str:
    if inputs is None:
        return "made from the signature"
    return os.fspath(inputs) if isinstance(inputs, str | os.PathLike) else "given inputs"


def _memory() -> int:
    """Bytes of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


@dataclass(frozen=True)
class _Run:
    """One pipeline to be run."""

    source: Path
    folder: Path  # where its model goes
    passes: str
    inputs: Inputs
    seed: int

    def point(self, jobs: int | None) -> Point:
        """What the pipeline comes to; raises SqueezeError where it is not the pipeline that is to blame."""
        self.folder.mkdir()
        draft = self.folder / Point(self.passes).file
        try:
            result = compress(self.source, draft, self.passes, inputs=self.inputs, seed=self.seed, jobs=jobs)
        except SqueezeError as error:
            if isinstance(error.__cause__, OSError):
                raise  # such as a full disk
            return Point(self.passes, problem=str(error))
        return _measured(self.passes, result)


def _run_all(runs: Sequence[_Run], workers: int, jobs: int | None, record: Record, progress: Progress) -> None:
    """Puts what the pipelines come to into the record, as they are done."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    progress.start("sweep", len(runs))
    parallel = Parallel(workers, return_as="generator_unordered")
    own, parent = (1, os.getpid()) if workers > 1 else (jobs, None)
    try:
        for run, point in parallel(delayed(_apart)(run, own, parent) for run in runs):
            record.add(point, run.folder)
            progress.advance(run.passes)
    except BrokenProcessPool as error:
        raise ModelError(
            "a process that ran a pipeline was killed, maybe for lack of memory; give fewer jobs"
        ) from error
    finally:
        progress.finish()


def _apart(run: _Run, jobs: int | None, parent: int | None) -> tuple[_Run, Point]:
    """Runs a pipeline; in a process of its own where there is a parent, with which that process ends."""
    if parent is not None:
        _follow(parent)
    return run, run.point(jobs)


@cache
def _follow(parent: int) -> None:
    """Ends this process soon after its parent; what to do with interruptions is the parent's to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _measured(passes: str, result: Result) -> Point:
    found = result.verification
    worst = None if found is None else found.worst
    if found is None or worst is None:
        return Point(passes, result.compressed_nbytes, seconds=result.seconds)
    shares = [f.top1 for f in found.outputs if f.top1 is not None]
    return Point(
        passes,
        result.compressed_nbytes,
        worst.relative_error,
        worst.cosine,
        min(shares, default=None),
        result.seconds,
    )
