"""What the contents of a model are: weights, packed or not, with the places of their bytes (UPDATE.md, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.encode.names import spec_of
from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.graphs import Scope, walk
from onnxsqueeze.model.tensors import elements, every_tensor, external_place, is_external
from onnxsqueeze.model.tensors import nbytes as nbytes_of
from onnxsqueeze.ota import wire
from onnxsqueeze.ota.container import Reader

Array = npt.NDArray[Any]

PLACEHOLDER, NUMBERED = b"\x9d\xf0hole", 1 << 62  # what the number of a hole follows: in bytes, in a list
DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
}


@dataclass(frozen=True)
class Vector:
    """An input of a packed weight: in a hole, or (short ones) in the skeleton."""

    dtype: str
    count: int
    hole: int | None
    inline: bytes = b""


@dataclass(frozen=True)
class Packed:
    """A packed weight (FORMAT.md, section 2)."""

    name: str
    op_type: str
    inputs: dict[str, Vector]
    attributes: dict[str, list[int]]  # without those in holes
    holes: dict[str, int]  # attribute to hole
    to: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return tuple(self.attributes.get("shape", ()))

    def places(self) -> list[int]:
        """The holes, inputs first."""
        return [*(v.hole for v in self.inputs.values() if v.hole is not None), *self.holes.values()]


@dataclass(frozen=True)
class Plain:
    """A tensor as ONNX stores it."""

    name: str
    dtype: int  # as ONNX numbers them
    shape: tuple[int, ...]
    hole: int

    def places(self) -> list[int]:
        """The hole."""
        return [self.hole]


Item = Packed | Plain


@dataclass(frozen=True)
class Region:
    """Bytes of an external file that belong to a tensor."""

    location: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Layout:
    """All holes of a model, and the items that they belong to: each hole to one item."""

    sizes: tuple[int | None, ...]  # bytes of each hole; None: the skeleton does not say
    regions: tuple[Region, ...]  # the last holes, sorted
    items: tuple[Item, ...]


def layout(skeleton: Reader) -> Layout:
    """Reads the skeleton of a model; raises FormatError where it is none."""
    sizes: list[int | None] = []
    proto = ModelProto()
    try:
        proto.ParseFromString(wire.assemble(skeleton, lambda field, nbytes: _placeholder(sizes, field, nbytes)))
    except DecodeError:
        raise FormatError("the update is damaged: its skeleton is no model") from None
    regions = _regions(proto)
    holes = _Holes(sizes, {(r.location, r.offset): len(sizes) + i for i, r in enumerate(regions)})
    every = (*sizes, *(r.nbytes for r in regions))
    found: list[Item] = []
    for scope in walk(proto):
        found.extend(item for item in _items(scope, holes) if holes.claim(item.places()))
    rest = [hole for hole in range(len(every)) if holes.claim([hole])]
    return Layout(every, tuple(regions), (*found, *(Plain("", TensorProto.UINT8, (), hole) for hole in rest)))


def _placeholder(sizes: list[int | None], field: int, nbytes: int) -> bytes:
    """What stands for the contents of the next hole: its number."""
    number = len(sizes)
    sizes.append(None if field == wire.INTS else nbytes)
    if field == wire.INTS:
        return wire.ints_run([NUMBERED + number])
    if field == wire.FLOAT_DATA:
        return np.array([number], np.float32).tobytes()
    return PLACEHOLDER + number.to_bytes(4, "little")


class _Holes:
    """Which hole a tensor or an attribute stands for, and which holes have an item already."""

    def __init__(self, sizes: Sequence[int | None], external: dict[tuple[str, int], int]) -> None:
        self._sizes, self._external = sizes, external
        self._free = set(range(len(sizes) + len(external)))

    def claim(self, holes: Sequence[int]) -> bool:
        """Takes the holes if all of them are still free."""
        if not holes or len(set(holes)) < len(holes) or not self._free.issuperset(holes):
            return False
        self._free.difference_update(holes)
        return True

    def of_tensor(self, tensor: TensorProto) -> int | None:
        """The hole with the tensor's bytes."""
        if is_external(tensor):
            location, offset, _ = external_place(tensor)
            return self._external.get((location, offset))
        if tensor.raw_data.startswith(PLACEHOLDER) and len(tensor.raw_data) == len(PLACEHOLDER) + 4:
            return self._known(int.from_bytes(tensor.raw_data[len(PLACEHOLDER) :], "little"), True)
        if tensor.data_type == TensorProto.FLOAT and len(tensor.float_data) == 1 and elements(tensor) > 1:
            return self._known(int(tensor.float_data[0]), True)
        return None

    def of_list(self, values: Sequence[int]) -> int | None:
        """The hole with an attribute's list."""
        return self._known(values[0] - NUMBERED, False) if len(values) == 1 else None

    def _known(self, number: int, sized: bool) -> int | None:
        inside = 0 <= number < len(self._sizes)
        return number if inside and (self._sizes[number] is not None) == sized else None


def _regions(proto: ModelProto) -> list[Region]:
    """What tensors hold of external files, sorted, nothing twice."""
    stated = set()
    for tensor in every_tensor(proto):
        if is_external(tensor):
            location, offset, length = external_place(tensor)
            nbytes = length if length is not None else nbytes_of(tensor)
            if nbytes:
                stated.add(Region(location, offset, nbytes))
    found: list[Region] = []
    for region in sorted(stated, key=lambda r: (r.location, r.offset, r.nbytes)):
        last = found[-1] if found else None
        if last is None or last.location != region.location or last.offset + last.nbytes <= region.offset:
            found.append(region)
    return found


def _items(scope: Scope, holes: _Holes) -> Iterator[Item]:
    """Packed weights first, for they read tensors of the same graph."""
    prefix = f"{scope.path}/" if scope.path else ""
    tensors = {tensor.name: tensor for tensor in scope.graph.initializer}
    for node in scope.graph.node:
        if node.domain == DOMAIN and (packed := _packed(node, prefix, tensors, holes)):
            yield packed
    for tensor, name in _tensors(scope.graph):
        hole = holes.of_tensor(tensor)
        if hole is not None:
            yield Plain(prefix + name, tensor.data_type, tuple(tensor.dims), hole)


def _tensors(graph: GraphProto) -> Iterator[tuple[TensorProto, str]]:
    """Initializers and tensors of nodes, with names."""
    for tensor in graph.initializer:
        yield tensor, tensor.name
    for node in graph.node:
        for attribute in node.attribute:
            for number, tensor in enumerate([attribute.t, *attribute.tensors]):
                output = next(iter(node.output), "")
                if node.op_type == "Constant":
                    yield tensor, output
                elif tensor.data_type:
                    yield tensor, f"{output}.{attribute.name}.{number}"


def _packed(node: NodeProto, prefix: str, tensors: dict[str, TensorProto], holes: _Holes) -> Packed | None:
    """The weight of a decode node; None where this version does not know it."""
    try:
        names = spec_of(node.op_type).inputs
    except FormatError:
        return None
    given = [tensors.get(name) for name in node.input]
    if len(given) != len(names) or None in given or len(node.output) != 1:
        return None
    inputs = {name: _vector(tensor, holes) for name, tensor in zip(names, given, strict=True) if tensor is not None}
    attributes, places, to = {}, {}, 0
    for attribute in node.attribute:
        hole = holes.of_list(attribute.ints)
        if hole is not None:
            places[attribute.name] = hole
        elif attribute.name == "to":
            to = int(attribute.i)
        else:
            attributes[attribute.name] = [int(v) for v in attribute.ints]
    return Packed(prefix + node.output[0], node.op_type, inputs, attributes, places, to)


def _vector(tensor: TensorProto, holes: _Holes) -> Vector:
    kind = DTYPES.get(tensor.data_type, "uint8")
    return Vector(kind, elements(tensor), holes.of_tensor(tensor), bytes(tensor.raw_data))
