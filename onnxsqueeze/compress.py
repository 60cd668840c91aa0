"""The main job: load, run the passes, pack, verify, and only then put the file in place."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.errors import ModelError, PipelineError
from onnxsqueeze.pipeline.context import Context, Progress, Silent
from onnxsqueeze.pipeline.staging import check_distinct, check_output, data_file, put, staging, writing
from onnxsqueeze.pipeline.store import Store

if TYPE_CHECKING:
    import onnx

    from onnxsqueeze.budget import Budget
    from onnxsqueeze.calibration.samples import Samples
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes.allocation import Account
    from onnxsqueeze.pipeline.lower import Packed
    from onnxsqueeze.pipeline.previous import Previous
    from onnxsqueeze.pipeline.run import Step
    from onnxsqueeze.verify import Verification

Given = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None  # feeds, or where they are
RUN_UP_TO = 2 << 30  # dense bytes; beyond, models are verified tensor by tensor only, unless inputs are given
BODY_OPSET = 13  # what the bodies of the decode functions are written in


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
        ota_base: the compressed model that is installed: its codebooks, scales and zeros are kept where a tensor's
            error stays within 1.1 times what the passes allow, so that an update (``onnxsqueeze.ota``) is small.
        work_dir: folder that keeps what was measured, by which a run that was broken off goes on, to the same bytes;
            made where it is not there.
        progress: told what is going on.

    Returns:
        Result: sizes, ratio, what each pass and tensor came to, and how close the outputs are on which inputs.

    Raises:
        SqueezeError: one sentence that names the offender; no file is written or changed then.
    """
    from onnxsqueeze.verify import given

    started = time.perf_counter()
    given.check_types(model, output, passes, inputs, calibration)
    _check_options(passes, budget, seed, jobs)
    source, target = _places(model, output)
    feeds = given.inputs(inputs)
    previous, store = _previous(ota_base), Store(work_dir)
    context = Context(seed, None, progress or Silent(), jobs or os.cpu_count() or 1, store=store, previous=previous)
    with staging(target) as folder, writing(target):
        path = source or _saved(model, folder)
        pipeline = _pipeline(passes if budget is None else budget.passes(_size(path)))
        samples = _samples(calibration, path, pipeline, context)
        if samples is not None:
            context = replace(context, calibration=samples.steering, held_out=samples.held_out)
            feeds = feeds if inputs is not None else (samples.held_out, samples.told)
        result = _run(path, target, folder, pipeline, context, feeds, inline, budget)
    told = str(model) if source else "model in memory"
    return replace(result, source=told, seconds=time.perf_counter() - started)


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
    job = _Job(source, folder, target, replace(context, notes=notes.append, accounts=accounts.append))
    steps, weights = job.draft(pipeline, inline)
    copied = _size(job.path) >= _size(source)
    if copied:
        weights = job.copy(weights)
    verification = job.verify(*feeds)
    if context.store:
        notes.append(context.store.told)
    before, after = _size(source), _size(job.path)
    if budget is not None:
        budget.confirm(before, after)
    if target is not None:
        put(job.path, target)
    text, output, told = _text(pipeline), str(target) if target else None, tuple(dict.fromkeys(notes))
    account = accounts[-1] if accounts else None
    return Result("", output, text, before, after, tuple(steps), tuple(weights), verification, told, account, copied, 0)


def _previous(path: str | os.PathLike[str] | None) -> Previous | None:
    from onnxsqueeze.pipeline.previous import Previous

    return None if path is None else Previous.load(path)


def _places(model: Any, output: str | os.PathLike[str] | None) -> tuple[Path | None, Path | None]:
    """Where the model lies, None where it is in memory, and where the output goes."""
    target = None if output is None else Path(output)
    if target is not None:
        check_output(target)
    source = None if hasattr(model, "graph") else resolve(model)
    if target is not None and source is not None:
        check_distinct(target, *_files(source))
    return source, target


def resolve(name: str | os.PathLike[str]) -> Path:
    """The path of a model; ``zoo:NAME`` is fetched."""
    text = os.fspath(name)
    if text.startswith("zoo:"):
        from onnxsqueeze import zoo

        return zoo.fetch(text.removeprefix("zoo:"))
    return Path(text)


class _Job:
    """One model on its way through a folder of drafts."""

    def __init__(self, source: Path, folder: Path, target: Path | None, context: Context) -> None:
        self.source, self.context = source, context
        self.path = folder / (Path(os.path.realpath(target)).name if target else "output.onnx")
        self._folder = folder
        self._decodable = self.path  # the draft with its decode nodes, even where the output has them inlined
        self._digests: dict[str, str] = {}
        self._opset = 0

    def draft(self, pipeline: Sequence[Any], inline: bool) -> tuple[list[Step], list[Packed]]:
        """Runs the pipeline and writes the result into the folder."""
        from onnxsqueeze.model import Model
        from onnxsqueeze.passes import PASSES
        from onnxsqueeze.pipeline.lower import lower
        from onnxsqueeze.pipeline.run import run
        from onnxsqueeze.pipeline.stamp import stamp
        from onnxsqueeze.verify.tensors import digests, signature_of

        model = Model.load(self.source, self._folder)
        self._refuse_unsuited(model)
        signature = signature_of(model.proto)
        steps = run(model, pipeline, PASSES, self.context)
        self._digests = digests(model)
        weights = lower(model, self.context)
        if signature_of(model.proto) != signature:
            raise ModelError(f"'{self.source}' would change its inputs or outputs; please report this")
        stamp(model, _text(pipeline), inline)
        self._opset = model.opset
        if inline:
            self._decodable = self._folder / "decodable.onnx"
            model.save(self._decodable)
            _inline(model, self.source)
        model.save(self.path)
        return steps, weights

    def _refuse_unsuited(self, model: Model) -> None:
        from onnxsqueeze.pipeline.stamp import is_inlined

        if model.is_packed:
            raise ModelError(f"'{self.source}' is compressed already; unpack it first: onnxsqueeze unpack IN OUT")
        if is_inlined(model):
            raise ModelError(f"'{self.source}' is compressed already, with --inline; compress its original instead")
        if not model.weights():
            raise ModelError(
                f"'{self.source}' holds no float weights of 64 elements or more; there is nothing to compress"
            )

    def copy(self, weights: Sequence[Packed]) -> list[Packed]:
        """Takes the source in the place of the draft; external data under the name that goes with it."""
        from onnxsqueeze.model import Model

        self.context.notes("nothing could be saved: the output is a copy of the input")
        data_file(self.path).unlink(missing_ok=True)
        self._digests, self._decodable, self._opset = {}, self.path, BODY_OPSET
        if len(_files(self.source)) > 1:
            Model.load(self.source, self._folder).save(self.path)
        else:
            shutil.copyfile(self.source, self.path)
        return [replace(w, encoding="", nbytes=w.dense_nbytes) for w in weights]

    def verify(self, feeds: Any, origin: str) -> Verification | None:
        """Opens and runs the draft beside the original; refuses a draft that is worse than inexact."""
        from onnxsqueeze.verify import FRUGAL_FROM, CannotOpen, CannotRun, verify

        size = _size(self.source)
        if size > RUN_UP_TO and feeds is None:
            self._verify_tensors("a model of over 2 GB is not run without --inputs")
            return None
        progress = self.context.progress
        try:
            found = verify(
                self.source, self.path, feeds, origin, self.context.seed, size > FRUGAL_FROM, progress=progress
            )
        except CannotRun as error:
            self._verify_tensors(str(error))
            return None
        except CannotOpen as error:
            if self._opset >= BODY_OPSET:
                raise
            raise ModelError(
                f"'{self.source}' is of opset {self._opset}, which cannot be raised to the {BODY_OPSET} that packed "
                "weights need; export it with a later opset"
            ) from error
        if broken := next((f for f in found.outputs if not f.finite), None):
            raise ModelError(
                f"output '{broken.output}' turns to NaN or infinity, or changes its shape, with these passes; "
                "nothing was written"
            )
        return found

    def _verify_tensors(self, reason: str) -> None:
        """Where the model cannot be run: decodes what lies in the file and compares it with what was packed."""
        from onnxsqueeze.verify.tensors import check_file

        count = check_file(self._decodable, self._digests)
        what = f"all {count} packed weights were decoded and compared bit for bit" if count else "no weight is packed"
        self.context.notes(f"{reason}; so outputs were not compared, but {what}, and onnx.checker accepts the file")


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


def _text(pipeline: Sequence[Any]) -> str:
    from onnxsqueeze.passes import PASSES
    from onnxsqueeze.pipeline import to_text

    return to_text(pipeline, PASSES)


def _saved(model: Any, folder: Path) -> Path:
    """A model in memory as a file."""
    from onnxsqueeze.model import Model

    path = folder / "input" / "model.onnx"
    path.parent.mkdir()
    Model.load(model).save(path)
    return path


def _samples(calibration: Any, source: Path, pipeline: Sequence[Any], context: Context) -> Samples | None:
    """Calibration samples as given; where a pass needs some and there are none, inputs made from the signature."""
    from onnxsqueeze.passes.allocate import Allocate
    from onnxsqueeze.verify import given

    if calibration is not None or not any(isinstance(step, Allocate) for step in pipeline):
        return given.samples(calibration, source)
    return given.made(source, context.seed, RUN_UP_TO)


def _inline(model: Model, source: Path) -> None:
    if model.opset < BODY_OPSET:
        raise ModelError(
            f"'{source}' cannot be raised from opset {model.opset} to {BODY_OPSET}, which decoding inside the graph "
            "needs; leave --inline out"
        )
    if not model.inline():
        raise ModelError(f"onnx cannot inline the decode functions of '{source}'; leave --inline out")


def _files(path: Path) -> list[Path]:
    """The files of a model: itself, and those that hold its external data."""
    from onnxsqueeze.model.dense import external_files
    from onnxsqueeze.model.load import parse

    return [path, *sorted(external_files(parse(path), path.parent))]


def _size(path: Path) -> int:
    """Bytes of the model and of its external data."""
    return sum(file.stat().st_size for file in _files(path))
