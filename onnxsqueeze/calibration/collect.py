"""Second moments of the inputs of every weight, collected by running the model on samples, stage by stage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.calibration.matrices import Reading, readings
from onnxsqueeze.calibration.moments import Gathering, Moments, rows_a_sample
from onnxsqueeze.calibration.segments import Runner
from onnxsqueeze.calibration.stages import Stage, stages
from onnxsqueeze.pipeline import Silent

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Progress

Feeds = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight, how a node sees it as a matrix, and what flows into it; layers fed alike share their moments."""

    name: str
    reading: Reading
    moments: Moments


def layers(
    model: Model,
    feeds: Feeds,
    names: set[str] | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    label: str = "activations",
) -> Iterator[list[Layer]]:
    """The weights (of ``names``, or all) that nodes multiply with values, in the order in which they are used.

    Each list holds weights whose inputs do not depend on one another. The next list is measured only when it is asked
    for, on the model as it is then: weights that were changed meanwhile change what the later ones are fed.
    One run over the samples serves all lists; what flows on is kept on disk between them. Weights that no sample
    reaches, or in functions, are left out. Raises ModelError where a sample does not run.
    """
    progress = progress or Silent()
    found = readings(model, names)
    order = stages(model, found)
    progress.start(label, len(order))
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder, ThreadPoolExecutor(jobs) as pool:
        runner = Runner(model, feeds, Path(folder))
        for stage in order:
            measured = _measure(runner, stage, found, pool, jobs)
            if measured:
                yield measured
            progress.advance(stage.names[0])
    progress.finish()


def collect(
    model: Model,
    feeds: Feeds,
    names: set[str] | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Moments]]:
    """The moments of each weight that ``layers`` finds."""
    for stage in layers(model, feeds, names, jobs, progress):
        yield from ((layer.name, layer.moments) for layer in stage)


def _measure(
    runner: Runner, stage: Stage, found: Mapping[str, list[Reading]], pool: ThreadPoolExecutor, jobs: int
) -> list[Layer]:
    gatherings: dict[Any, Gathering] = {}
    plan: list[tuple[Any, Reading]] = []  # what is added up: a gathering's key, and a reading of it
    keys = {name: _fed(found[name]) for name in stage.names}
    for name, key in keys.items():
        if key not in gatherings:
            gatherings[key] = Gathering(found[name][0], rows_a_sample(runner.count))
            plan.extend((key, reading) for reading in found[name])
    runner.seek(stage, [reading for _, reading in plan])
    for start in range(0, runner.count, jobs):  # few at a time: their values are in memory together
        for values in pool.map(runner.run, range(start, min(start + jobs, runner.count))):
            for (key, reading), value in zip(plan, values, strict=True):
                if value is not None:
                    gatherings[key].add(value, reading)
    runner.advance(stage)
    done = {key: gathering.done() for key, gathering in gatherings.items()}
    return [Layer(name, found[name][0], moments) for name, key in keys.items() if (moments := done[key]) is not None]


def _fed(listed: Sequence[Reading]) -> Any:
    """Weights of equal keys have the same inputs."""
    reading = listed[0]
    if len(listed) > 1 or reading.kind in ("rows", "state", "conv_transpose"):
        return reading.weight
    attributes = tuple(sorted((a.name, a.SerializeToString()) for a in reading.node.attribute))
    return reading.value, reading.kind, reading.seen[2:] if reading.kind == "conv" else reading.seen[:-2], attributes
