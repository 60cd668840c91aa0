"""Opens two models in stock onnxruntime, runs them on the same inputs and compares what comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.dense import file_nbytes
from onnxsqueeze.model.load import parse
from onnxsqueeze.pipeline.context import Progress, Silent
from onnxsqueeze.verify import signature
from onnxsqueeze.verify.fidelity import Fidelity, compare
from onnxsqueeze.verify.tensors import decode_all

Array = npt.NDArray[Any]
Feeds = Mapping[str, Any]

# Decoding a weight with standard operators takes some 30 bytes an element; above this the run of a frugal check decodes
# natively (stock onnxruntime has opened the file before).
NATIVE_FROM = 1 << 22
FRUGAL_FROM = 16 << 20  # bytes of models that are run without folding: slower, but memory stays bounded
FATAL = 4  # onnxruntime's log severity; what goes wrong comes as an exception


class CannotRun(ModelError):
    """Stock onnxruntime does not open the original model, so that there is nothing to compare with."""


class CannotOpen(ModelError):
    """Stock onnxruntime refuses a file."""


@dataclass(frozen=True)
class Verification:
    """What was run, on what, and how close the outputs are."""

    inputs: str  # where the inputs come from, in words
    samples: int
    outputs: tuple[Fidelity, ...]

    @property
    def worst(self) -> Fidelity | None:
        """The output with the largest relative error."""
        return max(self.outputs, key=lambda f: np.nan_to_num(f.relative_error, nan=-1, posinf=np.inf), default=None)


def _options(frugal: bool) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(FATAL)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    if frugal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    return options


def _native_session(path: Path, frugal: bool) -> Any:
    from onnxsqueeze.runtime.session import load

    return load(path, _options(frugal), ["CPUExecutionProvider"])


def _largest_weight(path: Path) -> int:
    """Elements of the largest packed weight of the main graph."""
    nodes = parse(path).graph.node
    shapes = (a.ints for n in nodes if n.domain == DOMAIN for a in n.attribute if a.name == "shape")
    return max((math.prod(shape) for shape in shapes), default=0)


def open_session(path: Path, frugal: bool, what: str) -> Any:
    """A stock session on one file; ``frugal``: nothing is folded, so decoding takes memory tensor by tensor.

    Raises CannotOpen where onnxruntime refuses the file.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(path, _options(frugal), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise CannotOpen(f"onnxruntime does not open the {what} '{path.name}': {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _outputs(session: Any, feeds: Sequence[Feeds], what: str, progress: Progress) -> list[list[Any]]:
    done = []
    for feed in feeds:
        try:
            done.append(session.run(None, dict(feed)))
        except Exception as error:
            raise ModelError(f"onnxruntime does not run the {what}: {_first_line(error)}") from error
        progress.advance(what)
    return done


def _feeds(
    session: Any, path: Path, inputs: Sequence[Feeds] | None, source: str, seed: int, count: int
) -> tuple[Sequence[Feeds], str]:
    if inputs is not None:
        return signature.check(parse(path), inputs, source or "the given inputs"), source
    return signature.make(session, parse(path), seed, count), "made from the signature"


def verify(
    original: Path,
    compressed: Path,
    inputs: Sequence[Feeds] | None,
    source: str = "",
    seed: int = 0,
    frugal: bool = False,
    progress: Progress | None = None,
    native: bool = False,
) -> Verification:
    """Runs both files and compares every output.

    ``inputs``: feeds by input name, or None to make them from the signature. ``source``: where given ones come from.
    ``native``: packed weights are decoded natively, which is quicker, and not by stock onnxruntime.
    Raises ModelError where a file does not open or run, or where signatures differ; CannotRun where it is the original
    that does not open.
    """
    progress = progress or Silent()
    progress.start("verify", 0)
    try:
        first = open_session(original, frugal, "original model")
    except CannotOpen as error:
        raise CannotRun(str(error)) from error
    feeds, source = _feeds(first, original, inputs, source, seed, 1 if frugal else 4)
    expected = _outputs(first, feeds, "original model", progress)
    outputs = [(o.name, o.type) for o in first.get_outputs()]
    signature_of_first = _signature(first)
    del first
    second = _native_session(compressed, frugal) if native else open_session(compressed, frugal, "compressed model")
    if _signature(second) != signature_of_first:
        raise ModelError("the two models differ in the names or types of their inputs or outputs")
    if native:
        source += "; weights decoded natively"
    elif frugal and _largest_weight(compressed) > NATIVE_FROM:
        source += "; largest weights decoded natively"
        del second
        second = _native_session(compressed, frugal)
    actual = _outputs(second, feeds, "compressed model", progress)
    progress.finish()
    compared = [
        compare(name, [np.asarray(run[i]) for run in expected], [np.asarray(run[i]) for run in actual])
        for i, (name, kind) in enumerate(outputs)
        if kind.startswith("tensor(") and kind != "tensor(string)"
    ]
    return Verification(source, len(feeds), tuple(compared))


def _signature(session: Any) -> list[tuple[str, str]]:
    return [(v.name, v.type) for v in [*session.get_inputs(), *session.get_outputs()]]


def verify_files(
    original: Path, other: Path, inputs: str | None, seed: int = 0, progress: Progress | None = None
) -> Verification:
    """Compares two files of any size and origin, on the inputs of an ``.npz`` file or made ones.

    Packed weights are decoded natively first, which tells of damage that the decode functions do not notice.
    Raises SqueezeError.
    """
    feeds = signature.read(inputs) if inputs else None
    for path in (original, other):
        decode_all(path)
    return verify(original, other, feeds, inputs or "", seed, file_nbytes(original) > FRUGAL_FROM, progress)
