"""The main job: load, run the passes, pack, verify, and only then put the file in place."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.context import Context, Progress, Silent

if TYPE_CHECKING:
    import onnx

    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline.lower import Packed
    from onnxsqueeze.pipeline.run import Step
    from onnxsqueeze.verify import Verification

# Models with more dense bytes than these are verified without folding (slower, but memory stays bounded by the
# largest tensor), or, beyond the second, tensor by tensor only, unless inputs are given.
FRUGAL_FROM, RUN_UP_TO = 16 << 20, 2 << 30


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
    verification: Verification | None  # None: too large to run without inputs; tensors were compared one by one
    notes: tuple[str, ...]
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
    inputs: str | os.PathLike[str] | Sequence[Mapping[str, Any]] | None = None,
    seed: int = 0,
    jobs: int | None = None,
    inline: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Compresses a model into one ``.onnx`` file that stock onnxruntime opens.

    Args:
        model: path of an ONNX file, ``zoo:NAME``, or a ModelProto; never changed.
        output: where the compressed model goes; None measures without writing.
        passes: pipeline text such as ``prune,share{bits=5},huffman``; None for the safe pipeline.
        inputs: ``.npz`` file or feeds (name to array) to verify on; None makes some from the signature.
        seed: of everything that is drawn.
        jobs: worker threads; None for one a core. The result does not depend on it.
        inline: writes the decode functions' bodies into the graph, for engines without model-local functions.
        progress: told what is going on.

    Raises:
        SqueezeError: one sentence that names the offender; no file is written or changed then.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        source = _source(model, Path(folder))
        job = _Job(source, Path(output) if output is not None else None, Path(folder), [])
        job.check_output()
        context = Context(seed, None, progress or Silent(), jobs or os.cpu_count() or 1, (), job.notes.append)
        feeds, origin = _feeds(inputs)
        text, steps, weights, draft = _draft(job, passes, context, inline)
        verification = _verify(job, draft, feeds, origin, seed)
        copied = _size(draft) >= _size(source)
        if copied:
            job.notes.append("nothing could be saved: the output is a copy of the input")
            _copy(source, draft)
        if job.output is not None:
            _put(draft, job.output)
        return Result(
            str(model) if not hasattr(model, "graph") else "model in memory",
            str(job.output) if job.output else None,
            text,
            _size(source),
            _size(draft),
            tuple(steps),
            tuple(weights),
            verification,
            tuple(job.notes),
            copied,
            time.perf_counter() - started,
        )


@dataclass(frozen=True)
class _Job:
    source: Path
    output: Path | None
    folder: Path  # for drafts; removed at the end
    notes: list[str]

    def check_output(self) -> None:
        """Refuses an output that cannot be written, before any work is done."""
        if self.output is None:
            return
        parent = self.output.resolve().parent
        if self.output.is_dir():
            raise ModelError(f"output '{self.output}' is a folder; name a file in it")
        if not parent.is_dir():
            raise ModelError(f"folder '{parent}' of the output does not exist; create it first")
        if self.output.exists() and self.output.samefile(self.source):
            raise ModelError(
                f"output '{self.output}' is the input itself; give another name, the input is never changed"
            )
        if self.output.suffix != ".onnx":
            raise ModelError(f"output '{self.output}' must end in .onnx")
        if not os.access(parent, os.W_OK) or (self.output.exists() and not os.access(self.output, os.W_OK)):
            raise ModelError(f"output '{self.output}' cannot be written: permission denied")


def resolve(name: str | os.PathLike[str]) -> Path:
    """The path of a model; ``zoo:NAME`` is fetched."""
    text = os.fspath(name)
    if text.startswith("zoo:"):
        from onnxsqueeze import zoo

        return zoo.fetch(text.removeprefix("zoo:"))
    return Path(text)


def _source(model: Any, folder: Path) -> Path:
    if hasattr(model, "graph"):
        import onnx

        path = folder / "input.onnx"
        onnx.save(model, path)
        return path
    return resolve(model)


def _feeds(inputs: Any) -> tuple[Sequence[Mapping[str, Any]] | None, str]:
    if inputs is None:
        return None, ""
    if isinstance(inputs, str | os.PathLike):
        from onnxsqueeze.verify import signature

        return signature.read(os.fspath(inputs)), os.fspath(inputs)
    return list(inputs), "given inputs"


def _draft(job: _Job, passes: str | None, context: Context, inline: bool) -> tuple[str, list[Step], list[Packed], Path]:
    """Runs the pipeline and writes the result into the job's folder."""
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes import DEFAULT, PASSES
    from onnxsqueeze.pipeline import parse, to_text
    from onnxsqueeze.pipeline.lower import lower
    from onnxsqueeze.pipeline.run import run

    pipeline = parse(passes if passes is not None else DEFAULT, PASSES)
    model = Model.load(job.source)
    if model.is_packed:
        raise ModelError(f"'{job.source}' is compressed already; unpack it first: onnxsqueeze unpack IN OUT")
    if not model.weights():
        raise ModelError(f"'{job.source}' holds no float weights of 64 elements or more; there is nothing to compress")
    steps = run(model, pipeline, PASSES, context)
    text = to_text(pipeline, PASSES)
    weights = lower(model, context)
    _sign(model, text)
    draft = job.folder / (job.output.name if job.output else "output.onnx")
    if inline:
        model.inline()
    model.save(draft)
    return text, steps, weights, draft


def _copy(source: Path, draft: Path) -> None:
    """The source under the draft's name; external data under the name that goes with it."""
    from onnxsqueeze.model import Model
    from onnxsqueeze.model.dense import external_files
    from onnxsqueeze.model.load import parse

    _data_file(draft).unlink(missing_ok=True)
    if external_files(parse(source), source.parent):
        Model.load(source).save(draft)
    else:
        shutil.copyfile(source, draft)


def _sign(model: Model, passes: str) -> None:
    from onnxsqueeze import __version__

    keys = {"ai.onnxsqueeze.passes": passes, "ai.onnxsqueeze.version": __version__}
    for key, value in keys.items():
        entry = next((p for p in model.proto.metadata_props if p.key == key), None)
        (entry or model.proto.metadata_props.add(key=key)).value = value


def _verify(job: _Job, draft: Path, feeds: Any, origin: str, seed: int) -> Verification | None:
    """Opens and runs the draft beside the original; refuses a draft that is worse than inexact."""
    from onnxsqueeze.verify import CannotRun, verify

    size = _size(job.source)
    if size > RUN_UP_TO and feeds is None:
        job.notes.append("too large to run here without --inputs: every packed tensor was decoded and compared instead")
        return None
    try:
        found = verify(job.source, draft, feeds, origin, seed, frugal=size > FRUGAL_FROM)
    except CannotRun as error:
        job.notes.append(f"{error}; outputs were not compared, every packed tensor was decoded and compared instead")
        return None
    if broken := next((f for f in found.outputs if not f.finite), None):
        raise ModelError(f"output '{broken.output}' turns to NaN or infinity with these passes; nothing was written")
    return found


def _data_file(path: Path) -> Path:
    return path.with_name(path.name + ".data")


def _size(path: Path) -> int:
    """Bytes of the model and of its external data."""
    from onnxsqueeze.model.dense import external_files
    from onnxsqueeze.model.load import parse

    return path.stat().st_size + sum(f.stat().st_size for f in external_files(parse(path), path.parent))


def _put(draft: Path, output: Path) -> None:
    """Copies the draft beside the output and renames it into place, external data first."""
    pairs = [(draft, output)]
    if _data_file(draft).exists():
        pairs.insert(0, (_data_file(draft), _data_file(output)))
    staged: list[tuple[Path, Path]] = []
    try:
        for source, target in pairs:
            temporary = target.resolve().with_name(f".{target.name}.{os.getpid()}.tmp")
            staged.append((temporary, target.resolve()))
            with source.open("rb") as reader, temporary.open("xb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
                os.fsync(writer.fileno())
        for temporary, target in staged:
            temporary.replace(target)
    except OSError as error:
        raise ModelError(f"output '{output}' cannot be written: {error.strerror or error}") from error
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
