"""Biases behind weights: they take up, at no cost, what a change to a weight does to its outputs on average."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.model.graphs import Edges, Key, domain, edges
from onnxsqueeze.model.roles import attribute
from onnxsqueeze.model.weights import find

if TYPE_CHECKING:
    from onnxsqueeze.calibration.matrices import Reading
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]

RECURRENT = {"LSTM": ("recurrent", "state"), "RNN": ("recurrent", "state"), "GRU": ("recurrent",)}


@dataclass(frozen=True)
class Place:
    """Where the bias of one weight stands: in a constant of its own or with others, seen as [groups, all outputs]."""

    tensor: str
    first: int  # place of the first output in each group
    factor: float = 1.0  # that the node multiplies it with


class Biases:
    """Biases that only one node uses, of weights that only it uses."""

    def __init__(self, model: Model, readings: Mapping[str, Sequence[Reading]], taken: Collection[str] = ()) -> None:
        """``taken``: constants that are not to be used, because they change themselves."""
        self._model, wiring = model, edges(model.proto)
        names = {(item.scope.index, item.local): name for name, item in find(model.proto, wiring).items()}
        self._places = {
            name: place
            for name, listed in readings.items()
            if len(listed) == 1
            and (place := _place(wiring, names, listed[0])) is not None
            and place.tensor not in taken
        }
        self._originals = {place.tensor: self._values(place.tensor) for place in self._places.values()}
        self._shifts: dict[str, Array] = {}

    def __contains__(self, weight: str) -> bool:
        return weight in self._places

    def shifts(self) -> dict[str, Array | None]:
        """What is added now, for every weight with a bias."""
        return {weight: self._shifts.get(weight) for weight in self._places}

    def shift(self, shifts: Mapping[str, Array | None]) -> None:
        """Adds to the outputs that weights make, in place of what was added before: [groups, outputs], None for 0."""
        for weight, amount in shifts.items():
            if amount is not None:
                self._shifts[weight] = amount
            else:
                self._shifts.pop(weight, None)
        for tensor in dict.fromkeys(self._places[weight].tensor for weight in shifts):
            self._write(
                tensor, [w for w, place in self._places.items() if place.tensor == tensor and w in self._shifts]
            )

    def _write(self, tensor: str, weights: Iterable[str]) -> None:
        original = self._originals[tensor]
        values = original.astype(np.float64)
        for weight in weights:
            place, amount = self._places[weight], self._shifts[weight]
            split = values.reshape(len(amount), -1)
            split[:, place.first : place.first + amount.shape[1]] += amount / place.factor
        made = values.astype(original.dtype)
        self._model.write(self._model.find(tensor).tensor, np.where(np.isfinite(made), made, original))

    def _values(self, tensor: str) -> Array:
        return np.array(self._model.read(self._model.find(tensor).tensor))


def _place(wiring: Edges, names: Mapping[Key, str], reading: Reading) -> Place | None:
    """The bias behind a reading; None where there is none, or where others use it or the weight."""
    found = _input(wiring, reading)
    if found is None:
        return None
    key, first, factor = found
    scope = wiring.scopes[reading.scope]
    weight = wiring.key(scope, reading.node.input[0 if reading.kind == "left" else _position(reading)])
    alone = weight is not None and len(wiring.users.get(weight, ())) == 1
    if key not in names or len(wiring.users[key]) != 1 or key in wiring.results or not alone:
        return None
    outputs = reading.matrix(np.broadcast_to(np.int8(0), reading.shape)).shape[:2]
    shape = tuple(wiring.constants[key].dims)
    size, last = int(np.prod(shape)), shape[-1] if shape else 0
    if reading.node.op_type in RECURRENT:
        return Place(names[key], first) if shape == (outputs[0], 2 * outputs[1]) else None
    fits = size == last == outputs[0] * outputs[1] and (outputs[0] == 1 or reading.kind.startswith("conv"))
    return Place(names[key], 0, factor) if fits else None


def _position(reading: Reading) -> int:
    return 2 if reading.kind == "state" else 1


def _input(wiring: Edges, reading: Reading) -> tuple[Key, int, float] | None:
    """The value that a reading's node adds, the place of its first output in it, and its factor."""
    node, scope = reading.node, wiring.scopes[reading.scope]
    position, first, factor = 2, 0, 1.0
    if node.op_type in RECURRENT:
        if reading.kind not in RECURRENT[node.op_type]:
            return None
        position, first = 3, reading.seen[1] if reading.kind == "state" else 0
    elif node.op_type == "MatMul" and reading.kind == "product":
        users = wiring.users.get((scope.index, node.output[0]), [])
        if len(users) != 1 or users[0].node.op_type != "Add" or domain(users[0].node) != "":
            return None
        scope, node, position = users[0].scope, users[0].node, 1 - users[0].input
    elif node.op_type == "Gemm":
        factor = float(attribute(node, "beta", 1.0)) / float(attribute(node, "alpha", 1.0) or 1.0)  # type: ignore[arg-type]
    elif not reading.kind.startswith("conv") or domain(node) != "":
        return None
    if position >= len(node.input) or not node.input[position] or not factor:
        return None
    key = wiring.key(scope, node.input[position])
    return None if key is None or key not in wiring.constants else (key, first, factor)
