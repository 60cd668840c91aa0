"""One weight as an input of the model: many variants of it run on one session, and only what follows it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, helper

from onnxsqueeze.calibration.segments import KEPT, cut, fixed_values, flowing, open_part, part_of, used_from
from onnxsqueeze.calibration.session import run
from onnxsqueeze.model.graphs import reads, unique_name, used_names
from onnxsqueeze.model.load import drop_inputs
from onnxsqueeze.model.weights import find

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
Feed = Mapping[str, Any]

HELD = 256 << 20  # bytes of values before the weight that are kept; where there are more, all of the model runs


class Probe:
    """The part of a model that a weight can change, on some samples."""

    def __init__(self, model: Model, name: str, feeds: Sequence[Feed]) -> None:
        """Raises ModelError where onnxruntime does not take the weight as an input, or a sample does not run."""
        self._model, self._feeds = model, list(feeds)
        fixed = fixed_values(model.proto.graph)
        first = _first_use(model, name, fixed)
        start = self._skip(first, fixed)
        proto = part_of(self._model)
        self._input, value = _as_input(proto, name)
        graph = proto.graph
        made = {output for node in list(graph.node)[start:] for output in node.output}
        self.outputs = [output.name for output in graph.output if output.name in made]
        for position in reversed(range(len(graph.output))):
            if graph.output[position].name not in made:
                del graph.output[position]
        if self.outputs:
            cut(graph, start, self._feeds[0], fixed)
            graph.input.append(value)
            self._session = open_part(proto, self._model)

    def run(self, values: Array) -> list[list[Array]]:
        """The outputs that the weight may change, for each sample, where it has these values."""
        if not self.outputs:
            return [[] for _ in self._feeds]
        return [run(self._session, self.outputs, {**feed, self._input: values}) for feed in self._feeds]

    def _skip(self, first: int, fixed: set[str]) -> int:
        """Runs what comes before the weight once and for all; the first node that is left to run."""
        graph = self._model.proto.graph
        passing = used_from(graph, first, self._feeds[0])
        names = flowing(graph, 0, first, fixed)
        if not names or any(np.asarray(self._feeds[0][name]).dtype.kind not in "biuf" for name in passing):
            return 0
        proto = part_of(self._model)
        del proto.graph.output[:]
        proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        cut(proto.graph, 0, {}, fixed)
        session = open_part(proto, self._model)
        if any(output.type not in KEPT for output in session.get_outputs()):
            return 0
        feeds: list[Feed] = []
        held = 0
        for feed in self._feeds:
            made = dict(zip(names, run(session, names, feed), strict=True))
            held += sum(value.nbytes for value in made.values())
            if held > HELD:
                return 0
            feeds.append({name: feed[name] for name in passing} | made)
        self._feeds = feeds
        return first


def _first_use(model: Model, name: str, fixed: set[str]) -> int:
    """The first node of the main graph that uses a weight, or what constant nodes make of it."""
    found = model.find(name)
    nodes, scope = list(model.proto.graph.node), found.scope
    owner: NodeProto | None = None
    while scope.parent is not None:
        owner, scope = scope.owner, scope.parent
    if owner is not None:
        return next(i for i, node in enumerate(nodes) if node is owner)
    names = {found.local}
    for place, node in enumerate(nodes):
        if reads(node) & names:
            outputs = set(node.output)
            if not outputs & fixed:
                return place
            names |= outputs
    return 0


def _as_input(proto: ModelProto, name: str) -> tuple[str, Any]:
    """Takes a constant out of the model; the name of the input in its place, which is to be added, and its type."""
    found = find(proto)[name]
    graph, tensor = found.scope.graph, found.tensor
    given = found.local if found.node is None and found.scope.parent is None else _free(proto)
    value = helper.make_tensor_value_info(given, tensor.data_type, list(tensor.dims))
    if found.node is not None:
        place = next(i for i, node in enumerate(graph.node) if found.local in node.output)
        graph.node[place].CopyFrom(helper.make_node("Identity", [given], [found.local]))
        return given, value
    _drop_initializer(graph, found.local)
    if found.scope.parent is None:
        drop_inputs(proto, {found.local})
    else:
        graph.node.insert(0, helper.make_node("Identity", [given], [found.local]))
    return given, value


def _free(proto: ModelProto) -> str:
    return unique_name("probe", used_names(proto))


def _drop_initializer(graph: GraphProto, name: str) -> None:
    place = next(i for i, tensor in enumerate(graph.initializer) if tensor.name == name)
    del graph.initializer[place]
