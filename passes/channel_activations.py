"""What flows into the readers of channels, measured on calibration inputs in stock onnxruntime."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper

from onnxsqueeze.errors import PassError
from onnxsqueeze.groups import Group, Groups, Member
from onnxsqueeze.groups.value import Step
from onnxsqueeze.groups.walk import walk
from onnxsqueeze.groups.work import measured

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
MATRIX_UP_TO = 2048  # positions whose products are kept
ROWS = 1 << 14  # of one input that are looked at, evenly spread
AT_ONCE = 256 << 20  # bytes of values that one run gives back


@dataclass(frozen=True, eq=False)
class Reading:
    """A node that sums over channels with constant weights, and the value that it reads them from."""

    step: Step
    member: Member
    value: str
    axis: int  # of the value, from the end where it is negative
    length: int  # of that axis
    behind: int  # axes behind it


@dataclass(eq=False)
class Moments:
    """Sums over all rows of a value seen as [rows, positions]."""

    count: int = 0
    total: Array = field(default_factory=lambda: np.zeros(0))
    squares: Array = field(default_factory=lambda: np.zeros(0))  # [positions]
    products: Array | None = None  # [positions, positions]
    nonzero: Array = field(default_factory=lambda: np.zeros(0))

    def add(self, rows: Array) -> None:
        """Takes rows in."""
        wide = rows.shape[1]
        if not self.count:
            self.total, self.squares, self.nonzero = (np.zeros(wide) for _ in range(3))
            self.products = np.zeros((wide, wide)) if wide <= MATRIX_UP_TO else None
        self.count += len(rows)
        self.total += rows.sum(axis=0, dtype=np.float64)
        self.squares += np.square(rows).sum(axis=0, dtype=np.float64)
        self.nonzero += np.count_nonzero(rows, axis=0)
        if self.products is not None:
            self.products += rows.T @ rows

    @property
    def mean(self) -> Array:
        """Mean of each position."""
        return self.total / max(self.count, 1)


def readings(groups: Groups, group: Group) -> list[Reading]:
    """The places where a group's channels are summed over with weights that can be changed."""
    return [r for member in group.of("consumer") for step in member.steps for r in _reading(groups, member, step)]


def _reading(groups: Groups, member: Member, number: int) -> Iterator[Reading]:
    step = groups.trace.steps[number]
    tensor = groups.trace.constants[member.scope, member.tensor]
    places = [i for i, value in enumerate(step.inputs) if value is not None and value.tensor is tensor]
    if step.scope.index or len(member.steps) > 1 or len(places) != 1 or member.positions.shape[1] == 0:
        return
    kind, place = step.node.op_type, places[0]
    length = tensor.dims[member.axis]
    if kind in ("Conv", "ConvTranspose") and step.attributes.get("group", 1) == 1:
        yield Reading(step, member, step.node.input[0], 1, length, len(tensor.dims) - 2)
    elif kind == "Gemm" and place == 1:
        flip = bool(step.attributes.get("transA"))
        yield Reading(step, member, step.node.input[0], 0 if flip else 1, length, 1 if flip else 0)
    elif kind == "MatMul" and place == 1 and len(tensor.dims) == 2:
        yield Reading(step, member, step.node.input[0], -1, length, 0)


def collect(groups: Groups, wanted: Mapping[str, int], context: Context) -> dict[str, Moments]:
    """Moments of values along one axis each, over all calibration inputs; memory is bounded."""
    feeds = context.calibration or ()
    if not feeds:
        raise PassError("there are no calibration inputs; give some, or choose options that need none")
    moments = {name: Moments() for name in wanted}
    chunks = list(_chunks(groups, sorted(wanted), feeds[0]))
    context.progress.start("activations", len(chunks) * len(feeds))
    for names in chunks:
        with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
            session = _session(groups.model, names, Path(folder), context.jobs)
            for feed in feeds:
                for name, value in zip(names, outputs_of(session, names, feed), strict=True):
                    rows = np.moveaxis(value, wanted[name], -1).reshape(-1, value.shape[wanted[name]])
                    moments[name].add(rows[:: -(-len(rows) // ROWS)].astype(np.float32))
                context.progress.advance(names[0])
    context.progress.finish()
    return moments


def _chunks(groups: Groups, names: list[str], feed: Mapping[str, Any]) -> Iterator[list[str]]:
    """Values that fit into memory together."""
    shapes = {name: np.shape(value) for name, value in feed.items()}
    values = walk(groups.model, groups.trace.choices, measured(groups.model.proto, shapes)).names
    chunk: list[str] = []
    held = 0
    for name in names:
        axes = values[0, name].axes or ()
        size = 4 * math.prod(axis.size.factor if axis.size.known else 64 for axis in axes)
        if chunk and held + size > AT_ONCE:
            yield chunk
            chunk, held = [], 0
        chunk.append(name)
        held += size
    if chunk:
        yield chunk


def _session(model: Model, names: Sequence[str], folder: Path, threads: int) -> Any:
    """A session that gives back these values."""
    path = folder / "model.onnx"
    model.save(path)
    proto = ModelProto()
    proto.ParseFromString(path.read_bytes())
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return opened(proto, folder, threads)


def opened(proto: ModelProto, folder: Path, threads: int) -> Any:
    """A session on a model whose external data, if any, is in the folder."""
    import onnxruntime

    path = folder / "calibration.onnx"
    path.write_bytes(proto.SerializeToString())
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise PassError(f"onnxruntime does not open the model to calibrate it: {_first_line(error)}") from error


def outputs_of(session: Any, names: Sequence[str], feed: Mapping[str, Any]) -> list[Array]:
    """Some outputs on one input; raises PassError where it does not run."""
    try:
        found: list[Array] = session.run(list(names), dict(feed))
    except Exception as error:
        raise PassError(f"onnxruntime does not run the calibration inputs: {_first_line(error)}") from error
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
