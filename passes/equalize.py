"""Cross-layer equalization: channels of two layers in a row get weights of like size in both (Nagel et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from onnxsqueeze.model.graphs import Edges, Key, Scope, Site, domain, edges
from onnxsqueeze.model.roles import integer
from onnxsqueeze.model.weights import find
from onnxsqueeze.passes.bounds import in_range

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

EACH = frozenset({"Relu", "LeakyRelu", "PRelu", "Identity", "Dropout"})  # f(2x) = 2 f(x), value by value
POOLS = frozenset({"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"})  # the same, channel by channel
TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE)  # half floats are too narrow to move exponents in
SMALLEST, LARGEST = 2.0**-100, 2.0**60  # sizes that a weight may take, so that products stay normal numbers


@dataclass(frozen=True)
class Equalize:
    """Moves the size of channels between layers in a row, until both have weights of about the same size in each.

    Channel i of the first layer, weights and bias, is divided by a power of two, and what reads it in the second is
    multiplied by it: so float results stay the same to the bit, as long as they are normal numbers. Between the layers
    may be Relu, LeakyRelu, PRelu, Identity, pooling and Flatten; where anything else is, such as Clip, Sigmoid or a
    second reader, nothing is done. Depthwise convolutions count as layers. Needs no data. `sweeps`: how often at most.
    """

    sweeps: int = 10

    def __post_init__(self) -> None:
        in_range("sweeps", self.sweeps, 1, 1000)

    def __call__(self, model: Model, context: Context) -> int:
        wiring = edges(model.proto)
        pairs = list(_pairs(model, wiring))
        values = {key: np.array(model.read(wiring.constants[key])) for pair in pairs for key in pair.keys}
        before = {key: array.copy() for key, array in values.items()}
        for _ in range(self.sweeps):
            if not sum([pair.equalize(values) for pair in pairs]):  # all of them, so no any()
                break
        changed = [key for key, array in values.items() if not np.array_equal(array, before[key])]
        for key in changed:
            model.write(wiring.constants[key], values[key])
        return len(changed)


@dataclass(frozen=True, eq=False)
class Side:
    """A constant, seen in a shape of its own in which channels run along some axes."""

    key: Key
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Their number."""
        return int(np.prod([self.shape[axis] for axis in self.axes]))

    def peaks(self, values: dict[Key, Array]) -> Array:
        """The largest magnitude of each channel, float64."""
        found: Array = self._rows(np.abs(values[self.key].reshape(self.shape))).max(axis=1).astype(np.float64)
        return found

    def scaled(self, values: dict[Key, Array], exponents: Array) -> tuple[Array, Array]:
        """The constant times 2 ** exponents, and which channels can be brought back exactly."""
        old = values[self.key].reshape(self.shape)
        form = [size if i in self.axes else 1 for i, size in enumerate(self.shape)]
        with np.errstate(over="ignore", under="ignore"):
            new: Array = np.ldexp(old, exponents.reshape(form))
        sizes: Array = np.abs(np.stack([old, new]))
        within = (sizes.min(axis=0) >= SMALLEST) & (sizes.max(axis=0) <= LARGEST)
        fine: Array = np.logical_or(within, sizes.max(axis=0) == 0)
        return new.reshape(values[self.key].shape), np.asarray(self._rows(fine).all(axis=1))

    def _rows(self, array: Array) -> Array:
        """[channels, all else]"""
        moved = np.moveaxis(array, self.axes, range(len(self.axes)))
        rows: Array = moved.reshape(self.channels, -1)
        return rows


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers in a row: what makes channels (weight, and bias if any), and what reads them."""

    makers: tuple[Side, ...]
    reader: Side
    fold: int  # inputs of the reader for each channel

    @property
    def keys(self) -> tuple[Key, ...]:
        """The constants."""
        return (*(axis.key for axis in self.makers), self.reader.key)

    def equalize(self, values: dict[Key, Array]) -> int:
        """Moves exponents; the number of channels changed."""
        first = self.makers[0].peaks(values)
        second = self.reader.peaks(values).reshape(len(first), self.fold).max(axis=1)
        exponents = np.zeros(len(first), np.int32)
        alive = (first > 0) & (second > 0)
        exponents[alive] = np.rint(np.log2(first[alive] / second[alive]) / 2).astype(np.int32)
        for axis, sign, times in self._parts():
            _, exact = axis.scaled(values, sign * np.repeat(exponents, times))
            exponents[~exact.reshape(len(first), times).all(axis=1)] = 0
        for axis, sign, times in self._parts():
            values[axis.key], _ = axis.scaled(values, sign * np.repeat(exponents, times))
        return int(np.count_nonzero(exponents))

    def _parts(self) -> Iterator[tuple[Side, int, int]]:
        yield from ((axis, -1, 1) for axis in self.makers)
        yield self.reader, 1, self.fold


def _pairs(model: Model, wiring: Edges) -> Iterator[Pair]:
    """Each layer with the one behind it."""
    noted = {(f.scope.index, f.local) for name, f in find(model.proto, wiring).items() if name in model.notes}
    given = {(0, value.name) for value in model.proto.graph.input}
    own = {
        key
        for key, tensor in wiring.constants.items()
        if tensor.data_type in TYPES
        and len(wiring.users.get(key, ())) == 1
        and key not in wiring.results
        and key not in noted | given
    }
    for scope in wiring.scopes:
        for node in scope.graph.node:
            found = _maker(wiring, scope, node, own)
            pair = None if found is None else _pair(wiring, scope, node, found, own)
            if pair is not None:
                yield pair


def _constant(wiring: Edges, scope: Scope, node: NodeProto, position: int, own: set[Key]) -> Key | None:
    """A float constant that only this input uses."""
    name = node.input[position] if position < len(node.input) else ""
    key = wiring.key(scope, name) if name else None
    return key if key in own else None


def _maker(wiring: Edges, scope: Scope, node: NodeProto, own: set[Key]) -> tuple[Side, ...] | None:
    """Weight and bias of a layer along its outputs; None where they are not its own."""
    key = None if domain(node) else _constant(wiring, scope, node, 1, own)
    if key is None or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    shape = tuple(wiring.constants[key].dims)
    if node.op_type != "Conv" and len(shape) != 2:
        return None
    axis = 0 if node.op_type == "Conv" or integer(node, "transB", 0) else 1
    weight = Side(key, shape, (axis,))
    if node.op_type == "MatMul" or len(node.input) < 3 or not node.input[2]:
        return (weight,)
    bias = _bias(wiring, _constant(wiring, scope, node, 2, own), shape[axis])
    return None if bias is None else (weight, bias)


def _bias(wiring: Edges, key: Key | None, width: int) -> Side | None:
    dims = () if key is None else tuple(wiring.constants[key].dims)
    fits = key is not None and bool(dims) and dims[-1] == width == int(np.prod(dims))
    return Side(key, (width,), (0,)) if key is not None and fits else None


def _pair(wiring: Edges, scope: Scope, node: NodeProto, makers: tuple[Side, ...], own: set[Key]) -> Pair | None:
    """Follows the channels to the next layer."""
    width = makers[0].channels
    form = "planes" if node.op_type == "Conv" else "rows"  # channels along axis 1, or the last one
    while (site := _only_user(wiring, scope, node)) is not None:
        node, kind = site.node, site.node.op_type
        if site.input == 0 and (kind in EACH or (kind in POOLS and form == "planes")):
            continue
        if site.input == 0 and kind == "Flatten" and form == "planes" and integer(node, "axis", 1) == 1:
            form = "rows"
        elif kind == "Add" and form == "rows" and len(makers) == 1:
            bias = _bias(wiring, _constant(wiring, scope, node, 1 - site.input, own), width)
            if bias is None:
                return None
            makers = (*makers, bias)
        else:
            reader = _reader(wiring, site, form, own)
            if reader is None or not width or not reader.channels or reader.channels % width:
                return None
            return Pair(makers, reader, reader.channels // width)
    return None


def _only_user(wiring: Edges, scope: Scope, node: NodeProto) -> Site | None:
    """What alone uses the first output of a node, in the same graph."""
    key = (scope.index, node.output[0])
    sites = wiring.users.get(key, ())
    if any(node.output[1:]) or len(sites) != 1 or key in wiring.results or sites[0].scope is not scope:
        return None
    return None if domain(sites[0].node) else sites[0]


def _reader(wiring: Edges, site: Site, form: str, own: set[Key]) -> Side | None:
    """The weight of a layer along its inputs."""
    node = site.node
    wanted = ("Conv",) if form == "planes" else ("Gemm", "MatMul")
    key = _constant(wiring, site.scope, node, 1, own)
    if key is None or site.input != 0 or node.op_type not in wanted or integer(node, "transA", 0):
        return None
    shape = tuple(wiring.constants[key].dims)
    if node.op_type == "Conv":
        groups = integer(node, "group", 1)
        if groups < 1 or shape[0] % groups:
            return None
        return Side(key, (groups, shape[0] // groups, shape[1], int(np.prod(shape[2:]))), (0, 2))
    return Side(key, shape, (1 if integer(node, "transB", 0) else 0,)) if len(shape) == 2 else None
