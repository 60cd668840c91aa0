"""The constant float tensors of a model, and what uses them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import roles
from onnxsqueeze.model.graphs import Edges, Scope, constant_value, domain, edges, label
from onnxsqueeze.model.tensors import FLOATS

if TYPE_CHECKING:
    from onnxsqueeze.encode.note import Note
    from onnxsqueeze.model.model import Model

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Use:
    """One node input that a constant feeds, maybe through Identity, Cast, Transpose or Reshape."""

    op_type: str
    node: str
    domain: str
    input: int


@dataclass(frozen=True, eq=False)
class Found:
    """Where a constant float tensor stands in the model."""

    name: str  # unique in the model
    scope: Scope
    local: str  # its name inside the scope
    tensor: TensorProto
    node: NodeProto | None  # the Constant node, None for an initializer


class Weight:
    """A view of one constant float tensor; all views of the same name show the same tensor and note."""

    def __init__(self, model: Model, found: Found, uses: tuple[Use, ...], role: roles.Role, place: int) -> None:
        self._model = model
        self.name = found.name
        self.shape: tuple[int, ...] = tuple(found.tensor.dims)
        self.dtype: np.dtype[np.generic] = FLOATS[found.tensor.data_type]
        self.uses = uses
        self.role = role.name
        self.channel_axis = role.channel
        self.reduction_axis = role.reduction
        self.groups = role.groups
        self.place = place  # of the first node that uses it, in the order in which nodes run; -1 for none

    def __repr__(self) -> str:
        return f"Weight({self.name!r}, {self.role}, {list(self.shape)}, {self.dtype})"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the dense values."""
        return self.size * self.dtype.itemsize

    @property
    def note(self) -> Note | None:
        """What passes know beyond the values; kept by the model under the weight's name."""
        return self._model.notes.get(self.name)

    @note.setter
    def note(self, note: Note | None) -> None:
        if note is None:
            self._model.notes.pop(self.name, None)
        else:
            self._model.notes[self.name] = note

    def values(self) -> Array:
        """The dense values, read-only; nothing is cached."""
        return self._model.read(self._model.find(self.name).tensor)

    def assign(self, values: Array) -> None:
        """Replaces the values by others of the same shape and type."""
        if values.shape != self.shape or values.dtype != self.dtype:
            raise ModelError(
                f"weight '{self.name}' is {self.dtype}{list(self.shape)}; it cannot take values that are "
                f"{values.dtype}{list(values.shape)}"
            )
        self._model.write(self._model.find(self.name).tensor, values)


def find(model: ModelProto, wiring: Edges | None = None) -> dict[str, Found]:
    """Every constant float tensor by its unique name: per graph the initializers, then the Constant nodes."""
    found: dict[str, Found] = {}
    for scope in (edges(model) if wiring is None else wiring).scopes:
        places: list[tuple[TensorProto, str, NodeProto | None]] = [
            (tensor, tensor.name, None) for tensor in scope.graph.initializer
        ]
        for node in scope.graph.node:
            tensor = constant_value(node)
            if tensor is not None:
                places.append((tensor, node.output[0], node))
        for tensor, local, maker in places:
            if tensor.data_type in FLOATS:
                name = _unique(f"{scope.path}/{local}" if scope.path else local, found)
                found[name] = Found(name, scope, local, tensor, maker)
    return found


def _unique(wanted: str, taken: dict[str, Found]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}#{number}"
    return name


def weights(model: Model, found: dict[str, Found], wiring: Edges, minimum: int) -> list[Weight]:
    """Views of the tensors with enough elements, but for those of quantized computations."""
    nodes = (node for scope in wiring.scopes for node in scope.graph.node)
    places = {id(node): place for place, node in enumerate(nodes)}
    views = []
    for item in found.values():
        shape = tuple(item.tensor.dims)
        if math.prod(shape) < max(minimum, 1):
            continue
        reached = roles.reach(wiring, (item.scope.index, item.local), shape)
        if any(roles.is_quantized(reach.site) for reach in reached):
            continue
        uses = tuple(_use(reach) for reach in reached)
        place = min((places[id(reach.site.node)] for reach in reached), default=-1)
        views.append(Weight(model, item, uses, roles.merged(reached, len(shape)), place))
    return views


def _use(reach: roles.Reach) -> Use:
    node = reach.site.node
    return Use(node.op_type, label(node), domain(node), reach.site.input)
