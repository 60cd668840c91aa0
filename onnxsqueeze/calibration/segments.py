"""Runs a model a part at a time: what flows from one part into the next is kept on disk, sample by sample."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, helper

from onnxsqueeze.calibration.expose import expose
from onnxsqueeze.calibration.matrices import Reading
from onnxsqueeze.calibration.session import open_session, run
from onnxsqueeze.calibration.stages import Stage
from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.graphs import Key, bodies, constant_value, reads, remove_dead, walk
from onnxsqueeze.model.save import save

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
Feed = Mapping[str, Any]

KEPT = {f"tensor({kind})" for kind in ("float", "float16", "double", "bool")} | {
    f"tensor({sign}int{bits})" for sign in ("", "u") for bits in (8, 16, 32, 64)
}  # types of values that can be kept on disk
IR = 8  # from 4 on, initializers need not be inputs


def part_of(model: Model) -> ModelProto:
    """A copy of the model's graph to make a part of."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    proto.ir_version = max(proto.ir_version, IR)
    return proto


def open_part(proto: ModelProto, model: Model) -> Any:
    """A session on a part of the model; with one thread, so that results do not depend on their number."""
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        path = Path(folder) / "part.onnx"
        save(proto, path, model.data, None, durable=False)
        return open_session(path, 1)


class Runner:
    """Runs the nodes between where it stands and where a stage begins, for each sample."""

    def __init__(self, model: Model, feeds: Sequence[Feed], folder: Path) -> None:
        self._model, self._feeds, self._folder = model, feeds, folder
        self._start = 0  # nodes of the main graph before this one have been run
        self._known: list[str] = []  # values kept on disk, there
        self._fixed = fixed_values(model.proto.graph)
        self._session: Any = None
        self._outputs: list[str | None] = []
        self._flowing: list[str] = []  # made here and used further on
        self._kept: list[str] | None = None  # all that is used further on; None where it cannot be kept on disk

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self._feeds)

    def seek(self, stage: Stage, wanted: Sequence[Reading]) -> None:
        """Opens the part that ends where the stage begins and makes what flows into it."""
        try:
            self._open(stage, wanted)
        except ModelError:
            if self._start == 0:
                raise
            self._start, self._known = 0, []  # the part alone does not open: from the beginning on
            self._open(stage, wanted)

    def run(self, number: int) -> list[Array | None]:
        """What flows into the readings for one sample, float32; None where it cannot be told."""
        feed = self._feed(number)
        names = list(dict.fromkeys([name for name in self._outputs if name is not None] + self._flowing))
        made = dict(zip(names, run(self._session, names, feed), strict=True))
        if self._kept is not None:
            kept = {name: made[name] if name in made else feed[name] for name in self._kept}
            with self._file(number, "next").open("wb") as file:
                for value in kept.values():
                    np.save(file, value)
        return [None if name is None else made[name] for name in self._outputs]

    def advance(self, stage: Stage) -> None:
        """From now on begins where the stage does, if all that is used from there on could be kept."""
        self._session = None
        if self._kept is None:
            return
        for number in range(self.count):
            now = self._file(number, "now")
            now.unlink(missing_ok=True)  # file systems write out at once what replaces a file
            self._file(number, "next").rename(now)
        self._start, self._known = stage.first, self._kept

    def _file(self, number: int, when: str) -> Path:
        return self._folder / f"{number}.{when}.npy"

    def _feed(self, number: int) -> dict[str, Any]:
        if self._start == 0:
            return dict(self._feeds[number])
        with self._file(number, "now").open("rb") as file:
            return {name: np.load(file, allow_pickle=False) for name in self._known}

    def _open(self, stage: Stage, wanted: Sequence[Reading]) -> None:
        proto, feed = part_of(self._model), self._feed(0)
        self._outputs = _expose(proto, wanted)
        self._flowing = flowing(proto.graph, self._start, stage.first, self._fixed)
        passing = used_from(proto.graph, stage.first, feed)
        proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in self._flowing)
        cut(proto.graph, self._start, feed, self._fixed)
        self._session = open_part(proto, self._model)
        kinds = {output.name: output.type for output in self._session.get_outputs()}
        simple = all(np.asarray(feed[name]).dtype.kind in "biuf" for name in passing)
        keep = simple and all(kinds[name] in KEPT for name in self._flowing)
        self._kept = [*passing, *self._flowing] if keep else None
        self._flowing = self._flowing if keep else []


def flowing(graph: GraphProto, start: int, first: int, fixed: set[str]) -> list[str]:
    """Values that nodes from ``start`` up to ``first`` make and later ones use; ``fixed``: of constants, left out."""
    nodes = list(graph.node)
    made = [name for node in nodes[start:first] for name in node.output if name and name not in fixed]
    return used_from(graph, first, made)


def used_from(graph: GraphProto, first: int, names: Iterable[str]) -> list[str]:
    """Those of the names that nodes from ``first`` on use."""
    used: set[str] = set().union(*(reads(node) for node in list(graph.node)[first:]))
    return [name for name in names if name in used]


def cut(graph: GraphProto, start: int, feed: Feed, fixed: set[str]) -> None:
    """Leaves the nodes from ``start`` on, which take ``feed``, and those that make constants; then what is used."""
    if start:
        del graph.input[:]
        for name, value in feed.items():
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, [None] * value.ndim))
        kept = [n for i, n in enumerate(graph.node) if i >= start or set(n.output) & fixed]
        nodes = GraphProto(node=kept)
        graph.ClearField("node")
        graph.node.extend(nodes.node)
    del graph.value_info[:]
    remove_dead(graph)


def fixed_values(graph: GraphProto) -> set[str]:
    """Values of the main graph that are made of constants alone: these are made again in every part."""
    known = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    made: set[str] = set()
    for node in graph.node:
        inputs = [name for name in node.input if name]
        simple = constant_value(node) is not None or (bool(inputs) and not any(bodies(node)))
        drawn = node.op_type.startswith("Random")
        if node.op_type == "Constant" or (simple and not drawn and known.issuperset(inputs)):
            outputs = [name for name in node.output if name]
            known.update(outputs)
            made.update(outputs)
    return made


def _expose(proto: ModelProto, wanted: Iterable[Reading]) -> list[str | None]:
    """Makes the values that flow into these readings the outputs; the name of each, None where it cannot leave."""
    graphs = [scope.graph for scope in walk(proto)]
    keys: list[Key] = []
    for reading in wanted:
        if reading.value is not None:
            keys.append(reading.value)
            continue
        node = graphs[reading.scope].node[reading.place]
        if not node.output[0]:
            node.output[0] = f"calibration.state.{reading.scope}.{reading.place}"
        keys.append((reading.scope, node.output[0]))
    distinct = list(dict.fromkeys(keys))
    outputs = dict(zip(distinct, expose(proto, distinct), strict=True))
    return [outputs[key] for key in keys]
