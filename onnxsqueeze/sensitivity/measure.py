"""Each weight alone, sparser and on coarser grids: the loss of the whole model, measured end to end."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration import collect
from onnxsqueeze.calibration.loss import Loss, Reference
from onnxsqueeze.calibration.moments import Moments
from onnxsqueeze.calibration.outputs import class_axes
from onnxsqueeze.calibration.probe import Probe
from onnxsqueeze.calibration.trial import Trial
from onnxsqueeze.compress import resolve
from onnxsqueeze.cost import figures
from onnxsqueeze.draft import RUN_UP_TO
from onnxsqueeze.errors import ModelError, PipelineError
from onnxsqueeze.model import Model
from onnxsqueeze.model.dense import file_nbytes
from onnxsqueeze.passes.bounds import packable
from onnxsqueeze.passes.evidence import lacking, silent
from onnxsqueeze.pipeline import Context
from onnxsqueeze.pipeline.context import Progress, Silent
from onnxsqueeze.pipeline.store import Store, digest_of_feeds, digest_of_files
from onnxsqueeze.sensitivity.variants import BITS, SPARSITIES, Variants
from onnxsqueeze.verify import given

if TYPE_CHECKING:
    from onnxsqueeze.calibration.samples import Samples
    from onnxsqueeze.model import Weight

Array = npt.NDArray[Any]
Feed = Mapping[str, Any]

MINIMUM = 256  # elements of a weight, as in ``share``
MACS, RUNS = 4e12, 16384  # multiply-accumulates and runs altogether, at most
FEWEST, MOST = 2, 16  # samples that each variant runs on
ENOUGH = 4  # samples that were not fitted to
FITTED = 64  # samples that tell what flows into the weights, at most


@dataclass(frozen=True)
class Point:
    """One weight changed alone. ``loss``: the worst output's, or the score's; ``shift``: see ``OutputLoss``."""

    value: float  # sparsity, or bits of entropy a weight, at most
    nbytes: int  # of the weight as stored then
    loss: float
    measured: float  # without what is expected of changes of the kind seen
    shift: float


@dataclass(frozen=True)
class Layer:
    """One weight. ``criterion``: what told which weights go, obs (Optimal Brain Surgeon) or magnitude."""

    weight: str
    op_type: str
    shape: tuple[int, ...]
    size: int
    dense_nbytes: int
    criterion: str
    sparsity: tuple[Point, ...]
    bits: tuple[Point, ...]

    @property
    def sensitivity(self) -> float:
        """Mean loss over all points, each counted as 1 at most."""
        points = (*self.sparsity, *self.bits)
        return sum(min(p.loss, 1.0) for p in points) / len(points)

    def most_zeros(self, limit: float) -> float:
        """The highest sparsity up to which every loss is within the limit."""
        return _last(self.sparsity, limit) or 0.0

    def fewest_bits(self, limit: float) -> float | None:
        """The fewest bits down to which every loss is within the limit; None where not even the most are."""
        return _last(self.bits[::-1], limit)


def _last(points: Sequence[Point], limit: float) -> float | None:
    found = None
    for point in points:
        if point.loss > limit:
            break
        found = point.value
    return found


@dataclass(frozen=True)
class Sensitivity:
    """All weights, the most sensitive first; ``data``: what was measured on, in words."""

    source: str
    data: str
    measured: int  # samples that tell the loss
    fitted: int  # samples that told what flows into the weights
    real: bool  # whether samples were given, not made up
    measures: tuple[tuple[str, str], ...]  # output, and its measure: decisions, variance or score
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Data:
    measured: Sequence[Feed]
    fitted: Sequence[Feed]
    told: str
    real: bool


def sensitivity(
    model: str | os.PathLike[str],
    *,
    calibration: Any = None,
    score: str = "",
    samples: int | None = None,
    seed: int = 0,
    jobs: int | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Changes each weight alone, to sparsities of 0 to 90 % and to 2 to 8 bits, and measures the loss.

    Args:
        model: path of an ONNX file, or ``zoo:NAME``.
        calibration: samples as for ``compress``; three quarters tell what flows into the weights, on the others the
            loss is measured. None: inputs are made up, and weights are changed without knowing what flows into them.
        score: ``module:function`` that takes the path of a model and gives a number; the loss is then its own.
        samples: that the loss is measured on; None for 2 to 16, fewer where runs take longer.
        seed: of everything that is drawn.
        jobs: weights at a time; None for one a core. Results do not depend on it.
        work_dir: folder that keeps the result of each weight, by which a run that was broken off goes on.
        progress: told of every weight.

    Raises:
        SqueezeError: the model cannot be run, or the samples are not for it.
    """
    started = time.perf_counter()
    _check_options(model, calibration, samples, jobs)
    source = resolve(model)
    notes: list[str] = []
    store = Store(work_dir)
    context = Context(seed, None, progress or Silent(), jobs or os.cpu_count() or 1, notes=notes.append, store=store)
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        loaded = Model.load(source, Path(folder))
        weights = packable(loaded, MINIMUM, context)
        if not weights:
            raise ModelError(
                f"'{source}' holds no float weights of {MINIMUM} elements or more; there is nothing to try"
            )
        data = _data(given.samples(calibration, source), source, samples, len(weights), seed)
        work = _Work(loaded, data, score, context, Path(folder))
        layers = [layer for layer in context.each("sensitivity", work.measure, weights, lambda w: w.name) if layer]
    if not layers:
        raise ModelError(f"'{source}': {notes[-1]}")
    notes.extend(_untold(layers, data))
    if store:
        notes.append(store.told)
    order = sorted(layers, key=lambda layer: (-layer.sensitivity, -sum(p.shift for p in layer.sparsity)))
    return Sensitivity(
        str(model),
        data.told,
        len(data.measured),
        len(data.fitted),
        data.real,
        work.measures,
        tuple(order),
        tuple(dict.fromkeys(notes)),
        time.perf_counter() - started,
    )


def _check_options(model: Any, calibration: Any, samples: int | None, jobs: int | None) -> None:
    given.check_types(model, None, None, None, calibration)
    for name, value in (("samples", samples), ("jobs", jobs)):
        if value is not None and value < 1:
            raise PipelineError(f"{name} must be at least 1, not {value}")


def _untold(layers: Sequence[Layer], data: _Data) -> Iterator[str]:
    """What the samples do not tell, in words."""
    still = [layer.weight for layer in layers if not any(p.loss or p.shift for p in (*layer.sparsity, *layer.bits))]
    if still:
        yield f"{silent(still)}; give samples that reach them"
    if data.real and (found := lacking([*data.measured, *data.fitted])):
        yield found


def _data(samples: Samples | None, source: Path, count: int | None, weights: int, seed: int) -> _Data:
    """On which samples losses are measured, and on which weights are fitted."""
    if samples is None:
        if file_nbytes(source) > RUN_UP_TO:
            raise ModelError(f"'{source}' is of over 2 GB; give samples to run it on with --calibration")
        made = given.made(source, seed, RUN_UP_TO)
        if made is None:
            raise ModelError(f"no inputs could be made from the signature of '{source}'; give some with --calibration")
        feeds = [*made.steering, *made.held_out]
        return _Data(feeds[: count or _affordable(source, feeds[0], weights)], (), made.origin, False)
    count = count or _affordable(source, samples.held_out[0], weights)
    enough = len(samples.held_out) >= min(count, ENOUGH)
    measured = samples.held_out if enough else (*samples.held_out, *samples.steering)
    if samples.overlap:
        measured = samples.held_out
    return _Data(measured[:count], samples.steering[:FITTED], samples.origin, True)


def _affordable(source: Path, feed: Feed, weights: int) -> int:
    """Samples that all variants of all weights can run on in reasonable time."""
    runs = weights * (len(SPARSITIES) + len(BITS))
    try:
        macs = figures(source, shapes={name: np.shape(value) for name, value in feed.items()}).macs
    except ModelError:
        macs = 0
    return max(FEWEST, min(MOST, RUNS // runs, int(MACS / (runs * max(macs, 1)))))


class _Work:
    """What is the same for all weights."""

    def __init__(self, model: Model, data: _Data, score: str, context: Context, folder: Path) -> None:
        self._model, self._data, self._context, self._folder = model, data, context, folder
        self._axes = class_axes(model)
        self._lock = threading.Lock()
        self._names = [w.name for w in model.weights(MINIMUM)]
        self._readings: dict[str, Any] | None = None
        self._trial = Trial(model, [], 1, score) if score else None
        self._measures: dict[str, str] = {}
        self._key: dict[str, Any] = {}
        if context.store:
            model.save(folder / "model.onnx", durable=False)
            files = sorted(folder.glob("model.onnx*"))
            samples = [digest_of_feeds(feeds) for feeds in (data.measured, data.fitted)]
            scored = [score, self._trial.source if self._trial else ""]
            self._key = {"model": digest_of_files(files), "samples": samples, "score": scored}
            self._key |= {"tried": [SPARSITIES, BITS], "decisions": self._axes}

    @property
    def measures(self) -> tuple[tuple[str, str], ...]:
        """Every output that decides, and how its loss is measured."""
        return tuple(sorted(self._measures.items()))

    def measure(self, weight: Weight) -> Layer | None:
        """One weight at all its points; None, and a note, where it cannot be tried."""
        key = self._key | {"weight": weight.name}
        layer, measures, note = self._context.store.recall("layer", key, lambda: self._measure(weight), _pack, _unpack)
        self._measures.update(measures)
        if note:
            self._context.notes(note)
        return layer

    def _measure(self, weight: Weight) -> tuple[Layer | None, dict[str, str], str]:
        values = weight.values().copy()
        variants = Variants(values, weight.channel_axis, self._layer(weight.name))
        measures: dict[str, str] = {}
        try:
            with self._lock:
                probe = Probe(self._model, weight.name, self._data.measured)
            reference = Reference(probe.outputs, self._axes, probe.run(values))
        except ModelError as error:
            return None, measures, f"'{weight.name}' is not measured: {error}"

        def point(value: float, made: tuple[Array, int]) -> Point:
            found = reference.compare(probe.run(made[0]))
            found = found if self._trial is None else self._scored(self._trial, weight, values, made[0])
            measures.update((o.output, o.kind) for o in found.deciding)
            return Point(value, made[1], found.value, found.measured, found.shift)

        sparsity = tuple(point(s, variants.sparse(s)) for s in SPARSITIES)
        bits = tuple(point(b, variants.coarse(b)) for b in BITS)
        feeds = weight.uses[0].op_type if weight.uses else ""
        about = (weight.name, feeds, weight.shape, weight.size, weight.nbytes, variants.criterion)
        return Layer(*about, sparsity, bits), measures, ""

    def _scored(self, trial: Trial, weight: Weight, values: Array, changed: Array) -> Loss:
        """The loss by the task's own score, of which there is one run at a time."""
        with self._lock:
            weight.assign(changed)
            try:
                return trial.loss(self._model)
            finally:
                weight.assign(values)

    def _collect(self) -> dict[str, Any]:
        """Puts what flows into the weights on disk: together it may be larger than the model."""
        found: dict[str, Any] = {}
        if self._data.fitted:
            names, context = set(self._names), self._context
            for stage in collect.layers(self._model, self._data.fitted, names, context.jobs, Silent()):
                for layer in stage:
                    moments, found[layer.name] = layer.moments, layer.reading
                    np.savez(self._file(layer.name), matrices=moments.matrices, means=moments.means, rows=moments.rows)
        return found

    def _layer(self, name: str) -> collect.Layer | None:
        with self._lock:
            if self._readings is None:
                self._readings = self._collect()
        if name not in self._readings:
            return None
        with np.load(self._file(name), allow_pickle=False) as kept:
            moments = Moments(kept["matrices"], kept["means"], np.zeros(0, np.float32), int(kept["rows"]))
        return collect.Layer(name, self._readings[name], moments)

    def _file(self, name: str) -> Path:
        return self._folder / f"{self._names.index(name)}.npz"


def _pack(found: tuple[Layer | None, dict[str, str], str]) -> Any:
    layer, measures, note = found
    return [layer and asdict(layer), measures, note]


def _unpack(kept: Any) -> tuple[Layer | None, dict[str, str], str]:
    told, measures, note = kept
    if told is None:
        return None, measures, note
    points = {kind: tuple(Point(**point) for point in told[kind]) for kind in ("sparsity", "bits")}
    return Layer(**{**told, "shape": tuple(told["shape"]), **points}), measures, note
