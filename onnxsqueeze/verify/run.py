"""Opens two models in stock onnxruntime, runs them on the same inputs and compares what comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.errors import ModelError
from onnxsqueeze.verify import signature
from onnxsqueeze.verify.fidelity import Fidelity, compare

Array = npt.NDArray[Any]
Feeds = dict[str, Array]

# Decoding a weight with standard operators takes some 30 bytes an element; above this the run of a frugal check decodes
# natively (stock onnxruntime has opened the file before).
NATIVE_FROM = 1 << 22


class CannotRun(ModelError):
    """Stock onnxruntime does not open the original model, so that there is nothing to compare with."""


@dataclass(frozen=True)
class Verification:
    """What was run, on what, and how close the outputs are."""

    inputs: str  # where the inputs come from, in words
    samples: int
    outputs: tuple[Fidelity, ...]

    @property
    def worst(self) -> Fidelity | None:
        """The output with the largest relative error."""
        return max(self.outputs, key=lambda f: f.relative_error, default=None)


def _frugal_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return options


def _native_session(path: Path) -> Any:
    from onnxsqueeze.runtime.session import load

    return load(path, _frugal_options())


def _largest_weight(path: Path) -> int:
    """Elements of the largest packed weight of the main graph."""
    nodes = onnx.load(path, load_external_data=False).graph.node
    shapes = (a.ints for n in nodes if n.domain == DOMAIN for a in n.attribute if a.name == "shape")
    return max((math.prod(shape) for shape in shapes), default=0)


def open_session(path: Path, frugal: bool, what: str) -> Any:
    """A stock session on one file; ``frugal``: nothing is folded, so decoding takes memory tensor by tensor.

    Raises ModelError where onnxruntime refuses the file.
    """
    import onnxruntime

    options = _frugal_options() if frugal else onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise ModelError(f"onnxruntime does not open the {what} '{path.name}': {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _outputs(session: Any, feeds: Sequence[Feeds], what: str) -> list[list[Any]]:
    try:
        return [session.run(None, feed) for feed in feeds]
    except Exception as error:
        raise ModelError(f"onnxruntime does not run the {what}: {_first_line(error)}") from error


def _check_names(session: Any, feeds: Sequence[Feeds], source: str) -> None:
    names = {i.name for i in session.get_inputs()}
    for feed in feeds:
        if missing := sorted(names - set(feed)):
            raise ModelError(
                f"{source} has no array for input '{missing[0]}'; it needs one for each of: {', '.join(sorted(names))}"
            )


def verify(
    original: Path,
    compressed: Path,
    inputs: Sequence[Feeds] | None,
    source: str = "",
    seed: int = 0,
    frugal: bool = False,
) -> Verification:
    """Runs both files and compares every output.

    ``inputs``: feeds by input name, or None to make them from the signature. ``source``: where given ones come from.
    Raises ModelError where a file does not open or run, or where signatures differ.
    """
    try:
        first = open_session(original, frugal, "original model")
    except ModelError as error:
        raise CannotRun(str(error)) from error
    if inputs is None:
        graph = onnx.load(original, load_external_data=False)
        feeds = signature.make(first, graph, seed, 1 if frugal else 4)
        del graph
        source = "made from the signature"
    else:
        _check_names(first, inputs, source)
        names = {i.name for i in first.get_inputs()}
        feeds = [{k: v for k, v in feed.items() if k in names} for feed in inputs]
    expected = _outputs(first, feeds, "original model")
    outputs = [(o.name, o.type) for o in first.get_outputs()]
    signature_of_first = _signature(first)
    del first
    second = open_session(compressed, frugal, "compressed model")
    if _signature(second) != signature_of_first:
        raise ModelError("the two models differ in the names or types of their inputs or outputs")
    if frugal and _largest_weight(compressed) > NATIVE_FROM:
        source += "; largest weights decoded natively"
        del second
        second = _native_session(compressed)
    actual = _outputs(second, feeds, "compressed model")
    compared = [
        compare(name, [np.asarray(run[i]) for run in expected], [np.asarray(run[i]) for run in actual])
        for i, (name, kind) in enumerate(outputs)
        if kind.startswith("tensor(") and kind != "tensor(string)"
    ]
    return Verification(source, len(feeds), tuple(compared))


def _signature(session: Any) -> list[tuple[str, str]]:
    return [(v.name, v.type) for v in [*session.get_inputs(), *session.get_outputs()]]
