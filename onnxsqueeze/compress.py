"""The main job: load, run the passes, pack, verify, and only then put the file in place."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.draft import RUN_UP_TO, Draft, text_of
from onnxsqueeze.errors import PipelineError
from onnxsqueeze.pipeline.context import Context, Progress, Silent
from onnxsqueeze.pipeline.staging import check_distinct, check_output, put, staging, writing
from onnxsqueeze.pipeline.store import Store

if TYPE_CHECKING:
    import onnx

    from onnxsqueeze.budget import Budget
    from onnxsqueeze.calibration.samples import Samples
    from onnxsqueeze.passes.allocation import Account
    from onnxsqueeze.pipeline.lower import Packed
    from onnxsqueeze.pipeline.previous import Previous
    from onnxsqueeze.pipeline.run import Step
    from onnxsqueeze.verify import Verification

Given = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None  # feeds, or where they are


@dataclass(frozen=True)
class Result:
    """What was done, and proof of it."""

    source: str
    output: str | None
    passes: str
    original_nbytes: int
    compressed_nbytes: int
    steps: tuple[Step, ...]
    weights: tuple[Packed, ...]
    verification: Verification | None  # None: outputs could not be compared, and a note says why and what was instead
    notes: tuple[str, ...]
    account: Account | None  # of what was measured on calibration samples, where a pass did
    copied: bool  # nothing could be saved: the output is the input
    seconds: float

    @property
    def ratio(self) -> float:
        """Original bytes over compressed bytes, external data included."""
        return self.original_nbytes / self.compressed_nbytes


def compress(
    model: str | os.PathLike[str] | onnx.ModelProto,
    output: str | os.PathLike[str] | None = None,
    passes: str | None = None,
    *,
    inputs: Given = None,
    calibration: Given = None,
    budget: Budget | None = None,
    seed: int = 0,
    jobs: int | None = None,
    inline: bool = False,
    ota_base: str | os.PathLike[str] | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Compresses a model into one ``.onnx`` file that stock onnxruntime opens.

    The output is opened and run beside the input before it is put in place. The same model, passes, seed and version
    give the same bytes, whatever ``jobs`` is. Example::

        result = onnxsqueeze.compress("in.onnx", "out.onnx", "prune,share,huffman")
        print(result.ratio, result.verification.worst)

    Args:
        model: path of an ONNX file, ``zoo:NAME``, or a ModelProto; never changed.
        output: where the compressed model goes; None measures without writing.
        passes: pipeline text such as ``prune,share{bits=5},huffman``; None for the safe pipeline.
        inputs: ``.npz`` file or feeds to verify on; None: samples held out, or else some made from the signature.
        calibration: samples that passes look at: ``.npz``, a folder, ``module:function`` or feeds; a part is held out.
        budget: what the output may lose or take at most; it chooses the passes.
        seed: of everything that is drawn.
        jobs: worker threads; None for one a core.
        inline: writes the decode functions' bodies into the graph, for engines without model-local functions.
        ota_base: the compressed model that is installed; its codebooks, scales and zeros are kept within 1.1 times the
            error that the passes allow, and small float tensors move in steps, so that an update is small.
        work_dir: folder that keeps what was measured, by which a run that was broken off goes on, to the same bytes.
        progress: told what is going on.

    Returns:
        Result: sizes, ratio, what each pass and tensor came to, and how close the outputs are on which inputs.

    Raises:
        SqueezeError: one sentence that names the offender; no file is written or changed then.
    """
    started = time.perf_counter()
    feeds = _checked(model, output, passes, inputs, calibration)
    _check_options(passes, budget, seed, jobs)
    source, target = _places(model, output)
    previous, store = _previous(ota_base), Store(work_dir)
    context = Context(seed, None, progress or Silent(), jobs or os.cpu_count() or 1, store=store, previous=previous)
    with staging(target) as folder, writing(target):
        path = source or _saved(model, folder)
        pipeline = _pipeline(passes if budget is None else budget.passes(_nbytes(path)))
        samples = _samples(calibration, path, pipeline, context)
        if samples is not None:
            context = replace(context, calibration=samples.steering, held_out=samples.held_out)
            feeds = feeds if inputs is not None else (samples.held_out, samples.told)
        result = _run(path, target, folder, pipeline, context, feeds, inline, budget)
    return replace(result, source=str(model) if source else "model in memory", seconds=time.perf_counter() - started)


def _run(
    source: Path,
    target: Path | None,
    folder: Path,
    pipeline: Sequence[Any],
    context: Context,
    feeds: tuple[Sequence[Mapping[str, Any]] | None, str],
    inline: bool,
    budget: Budget | None,
) -> Result:
    """Everything that happens in the folder of drafts, up to the output in its place."""
    from onnxsqueeze.verify import given

    notes: list[str] = []
    accounts: list[Account] = []
    given.check(source, *feeds)
    job = Draft(source, folder, target, replace(context, notes=notes.append, accounts=accounts.append))
    steps, weights = job.draft(pipeline, inline)
    before, after = _nbytes(source), _nbytes(job.path)
    copied = after >= before
    if copied:
        weights = job.copy(weights)
        after = _nbytes(job.path)
    verification = job.verify(*feeds, before)
    if context.store:
        notes.append(context.store.told)
    if budget is not None:
        budget.confirm(before, after)
    if target is not None:
        put(job.path, target)
    text, output, told = text_of(pipeline), str(target) if target else None, tuple(dict.fromkeys(notes))
    account = accounts[-1] if accounts else None
    return Result("", output, text, before, after, tuple(steps), tuple(weights), verification, told, account, copied, 0)


def _checked(model: Any, output: Any, passes: Any, inputs: Any, calibration: Any) -> Any:
    """The inputs to verify on, and where they come from; refuses arguments that cannot be what they are to be."""
    from onnxsqueeze.verify import given

    given.check_types(model, output, passes, inputs, calibration)
    return given.inputs(inputs)


def _previous(path: str | os.PathLike[str] | None) -> Previous | None:
    from onnxsqueeze.pipeline.previous import Previous

    return None if path is None else Previous.load(path)


def _places(model: Any, output: str | os.PathLike[str] | None) -> tuple[Path | None, Path | None]:
    """Where the model lies, None where it is in memory, and where the output goes."""
    from onnxsqueeze.model.dense import files_of

    target = None if output is None else Path(output)
    if target is not None:
        check_output(target)
    source = None if hasattr(model, "graph") else resolve(model)
    if target is not None and source is not None:
        check_distinct(target, *files_of(source))
    return source, target


def _nbytes(path: Path) -> int:
    from onnxsqueeze.model.dense import file_nbytes

    return file_nbytes(path)


def resolve(name: str | os.PathLike[str]) -> Path:
    """The path of a model; ``zoo:NAME`` is fetched."""
    text = os.fspath(name)
    if text.startswith("zoo:"):
        from onnxsqueeze import zoo

        return zoo.fetch(text.removeprefix("zoo:"))
    return Path(text)


def _check_options(passes: str | None, budget: Budget | None, seed: Any, jobs: Any) -> None:
    if budget is not None and passes is not None:
        raise PipelineError("a budget chooses the passes; leave one of them out, or write allocate into the pipeline")
    for name, value, least in (("seed", seed, 0), ("jobs", jobs, 1)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise PipelineError(f"{name} must be at least {least} and whole, not {value!r}")


def _pipeline(passes: str | None) -> tuple[Any, ...]:
    from onnxsqueeze.passes import DEFAULT, PASSES
    from onnxsqueeze.pipeline import parse

    return parse(passes if passes is not None else DEFAULT, PASSES)


def _saved(model: Any, folder: Path) -> Path:
    """A model in memory as a file."""
    from onnxsqueeze.model import Model

    path = folder / "input" / "model.onnx"
    path.parent.mkdir()
    Model.load(model).save(path)
    return path


def _samples(calibration: Any, source: Path, pipeline: Sequence[Any], context: Context) -> Samples | None:
    """Calibration samples as given; where a pass needs some and there are none, inputs made from the signature."""
    from onnxsqueeze.passes.adapt import Adapt
    from onnxsqueeze.passes.allocate import Allocate
    from onnxsqueeze.verify import given

    if calibration is not None or not any(isinstance(step, Allocate | Adapt) for step in pipeline):
        return given.samples(calibration, source)
    return given.made(source, context.seed, RUN_UP_TO)
