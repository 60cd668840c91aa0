"""The bodies of the decode functions, in standard ONNX operators (opset 13 and later).

Names inside a body are short because every body is stored in the file. What shapes the bodies: onnxruntime keeps every
folded intermediate of the whole model until folding ends, so the wide tensors are few and narrow.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxsqueeze.encode.names import Spec, spec_of, split_kind
from onnxsqueeze.encode.streams import PLANES

DOMAIN = "ai.onnxsqueeze"
VERSION = 1
RAW_TYPES = {"Raw16": TensorProto.FLOAT16, "Raw32": TensorProto.FLOAT, "Raw64": TensorProto.DOUBLE}


_DIGITS = [a + b for a in ("", *string.ascii_lowercase) for b in string.ascii_lowercase + string.digits]


class _Body:
    """Collects nodes; every method returns the name of the value that it adds."""

    def __init__(self, guards: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[str] = []
        self.attributes: list[str] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self._column = ""
        self.byte_tables: _ByteTables | None = None
        self.guards = guards  # rows after the 256 of every byte table
        self._names = 0

    def _name(self) -> str:
        """A, B, … Z, A0, …: as short as can be, and unlike any input's name, which is in lower case."""
        number, self._names = self._names, self._names + 1
        suffix = _DIGITS[number // 26 - 1] if number >= 26 else ""
        return chr(65 + number % 26) + suffix

    def input(self, name: str) -> str:
        self.inputs.append(name)
        return name

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        names = [self._name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names

    def constant(self, value: Any, dtype: Any) -> str:
        array = np.array(value, dtype)
        key = (str(array.dtype), array.tobytes(), array.shape)
        if key not in self._constants:
            data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor = onnx.TensorProto(data_type=data_type, dims=array.shape)
            field = tensor.int64_data if array.dtype == np.int64 else tensor.int32_data  # small numbers take one byte
            field.extend(array.reshape(-1).tolist())
            self._constants[key] = self.op("Constant", value=tensor)
        return self._constants[key]

    def attribute(self, name: str) -> str:
        """An int64 constant that holds the node's attribute."""
        key = (name, b"attribute", ())
        if key not in self._constants:
            value = self.op("Constant")
            self._refer(self.nodes[-1], "value_ints", name, onnx.AttributeProto.INTS)
            self._constants[key] = value
        return self._constants[key]

    def _refer(self, node: onnx.NodeProto, own: str, name: str, kind: Any) -> None:
        node.attribute.append(onnx.AttributeProto(name=own, ref_attr_name=name, type=kind))
        if name not in self.attributes:
            self.attributes.append(name)

    def refer_int(self, own: str, name: str) -> None:
        """Gives the last node the attribute ``own``, taken from the function's integer attribute ``name``."""
        self._refer(self.nodes[-1], own, name, onnx.AttributeProto.INT)

    def refer_ints(self, own: str, name: str) -> None:
        self._refer(self.nodes[-1], own, name, onnx.AttributeProto.INTS)

    def split(self, value: str, sizes: str, count: int) -> list[str]:
        return [value] if count == 1 else self.ops("Split", value, self.attribute(sizes), outputs=count)

    def flat(self, value: str) -> str:
        return self.op("Reshape", value, self.constant([-1], np.int64))

    def head(self, value: str, count: str) -> str:
        """The first ``count`` (a [1] attribute) elements."""
        return self.op("Slice", value, self.constant([0], np.int64), self.attribute(count))

    def bytes_column(self) -> str:
        """0 … 255 as int32 [256 + guards, 1]; the guards' rows repeat 255."""
        if not self._column:
            ends = [self.constant(v, np.int32) for v in (0, 256 + self.guards, 1)]
            codes = self.op("Range", *ends)
            if self.guards:
                codes = self.op("Min", codes, self.constant(255, np.int32))
            self._column = self.op("Reshape", codes, self.constant([-1, 1], np.int64))
        return self._column

    def fields(self, bits: int, shift: int = 0) -> str:
        """Table [256 + guards, 8 / bits]: the fields of each byte, times 2**shift; int32."""
        divisors = self.constant([1 << (bits * i) for i in range(8 // bits)], np.int32)
        table = self.op("Mod", self.op("Div", self.bytes_column(), divisors), self.constant(1 << bits, np.int32))
        return self.op("Mul", table, self.constant(1 << shift, np.int32)) if shift else table

    def planes(self, segments: Sequence[str], bits: int) -> str:
        """Integers of ``bits`` bits, int32, flat, from their planes' bytes (int32)."""
        widths = PLANES[bits]
        if widths == (8,):
            return segments[0]
        if len(widths) == 2 and widths[1] == 1:
            return self.wide(self._with_last_bit(segments, widths[0]))
        total, shift = "", bits
        for segment, width in zip(segments, widths, strict=True):
            shift -= width
            part = self.wide(self._plane(segment, self.fields(width, shift)))
            total = self.op("Add", total, part) if total else part
        return total

    def _plane(self, segment: str, table: str, to: int = TensorProto.UINT8) -> str:
        """The table's fields of every byte, flat, in one byte each."""
        return self.flat(self.op("Gather", self.op("Cast", table, to=to), segment))

    def _with_last_bit(self, segments: Sequence[str], width: int) -> str:
        """A plane of ``width`` bits followed by one of 1 bit, uint8: a choice between two tables stays narrow."""
        even = self.fields(width, 1)
        odd = self.op("Add", even, self.constant(1, np.int32))
        choice = self._plane(segments[1], self.fields(1), to=TensorProto.BOOL)
        return self.op("Where", choice, self._plane(segments[0], odd), self._plane(segments[0], even))

    def wide(self, payload: str) -> str:
        return self.op("Cast", payload, to=TensorProto.INT32)


def _leaf_runs(body: _Body, prefix: str, count: str, depth: int, low: int) -> list[str]:
    """R_1 … R_D as uint8, leaf numbers times 2**low: steps at ``starts``, summed up."""
    starts = body.attribute(f"{prefix}_starts")
    zeros = body.op("ConstantOfShape", body.attribute(count), value=helper.make_tensor("", TensorProto.INT32, [1], [0]))
    ones = body.op(
        "ConstantOfShape", body.op("Shape", starts), value=helper.make_tensor("", TensorProto.INT32, [1], [1 << low])
    )
    steps = body.op("ScatterElements", zeros, starts, ones)
    runs = body.op("CumSum", steps, body.constant(0, np.int64))
    return body.split(body.op("Cast", runs, to=TensorProto.UINT8), f"{prefix}_leaves", depth)


@dataclass(frozen=True)
class _ByteTables:
    """What each byte of a level stands for: rows for 0 … 255, then one for each guard."""

    is_one: str  # bool [rows, 8]: the byte's bits
    within: str  # int32 [rows, 8]: how many bits of the same kind come before, in the byte
    steps: str  # int32 [256, 2]: the byte's zeros and ones


def _byte_tables(body: _Body) -> _ByteTables:
    if body.byte_tables is not None:
        return body.byte_tables
    bit = body.fields(1)
    is_one = body.op("Cast", bit, to=TensorProto.BOOL)
    ones_before = body.op("CumSum", bit, body.constant(1, np.int64), exclusive=1)
    zeros_before = body.op("Sub", body.constant(range(8), np.int32), ones_before)
    within = body.op("Where", is_one, ones_before, zeros_before)
    ones = body.op("ReduceSum", bit, body.constant([1], np.int64))
    steps = body.op("Concat", body.op("Sub", body.constant(8, np.int32), ones), ones, axis=1)
    bytes_only = body.op("Slice", steps, body.constant([0], np.int64), body.constant([256], np.int64))
    body.byte_tables = _ByteTables(is_one, within, bytes_only)
    return body.byte_tables


def _level_columns(body: _Body, prefix: str, depth: int) -> tuple[str, str, str]:
    """Bits rounded up to bytes, elements and zeros of each level, the deepest first: int64 [depth, 1]."""
    upwards = body.constant([[level] for level in reversed(range(depth))], np.int64)
    sizes, leaves, zeros = (
        body.op("Gather", body.attribute(f"{prefix}_{name}"), upwards) for name in ("sizes", "leaves", "zeros")
    )
    elements = body.op("CumSum", leaves, body.constant(0, np.int64))
    return body.op("Mul", sizes, body.constant(8, np.int64)), elements, zeros


def _sources(body: _Body, prefix: str, segments: list[str], depth: int) -> list[str]:
    """For each level the index into Y of each element, int32; below the top, 8 more that point just past Y's end.

    Ranks of all levels come from one running sum over all bytes. A guard between two levels resets it, from the
    counts at the end of one level to (0, z) at the start of the next: its step is the difference.
    """
    tables = _byte_tables(body)
    bits, elements, zeros = _level_columns(body, prefix, depth)
    none = body.constant([[0]] * depth, np.int64)
    at_end = body.op("Concat", body.op("Add", body.op("Sub", bits, elements), zeros), elements, axis=1)
    before = body.op("Concat", body.constant([[0, 0]], np.int64), at_end, axis=0)
    before = body.op("Slice", before, body.constant([0], np.int64), body.constant([depth], np.int64))
    resets = body.op("Sub", body.op("Concat", none, zeros, axis=1), before)
    steps = body.op("Concat", tables.steps, body.op("Cast", resets, to=TensorProto.INT32), axis=0)

    guards = body.ops(
        "Split", body.constant(range(256, 256 + depth), np.int32), body.constant([1] * depth, np.int64), outputs=depth
    )
    pieces = zip(guards, reversed(segments[:depth]), strict=True)
    codes = body.op("Concat", *(name for pair in pieces for name in pair), axis=0)
    ranks = body.op("CumSum", body.op("Gather", steps, codes), body.constant(0, np.int64), exclusive=1)
    rank0, rank1 = body.ops("Split", ranks, body.constant([1, 1], np.int64), outputs=2, axis=1)
    base = body.op("Where", body.op("Gather", tables.is_one, codes), rank1, rank0)
    index = body.flat(body.op("Add", base, body.op("Gather", tables.within, codes)))

    with_guard = body.op("Add", bits, body.constant([[8]] * (depth - 1) + [[0]], np.int64))
    lengths = body.op("Concat", body.constant([8], np.int64), body.flat(with_guard), axis=0)
    return body.ops("Split", index, lengths, outputs=depth + 1)[:0:-1]


def _huffman(body: _Body, prefix: str, count: str, depth: int, low: int) -> str:
    """A Huffman stream as flat int32, 8 * blocks elements (FORMAT.md, section 3.2)."""
    segments = body.split(body.wide(body.input(prefix)), f"{prefix}_sizes", depth + len(PLANES[low]))
    sources = _sources(body, prefix, segments, depth)
    runs = _leaf_runs(body, prefix, count, depth, low)
    below = body.constant([0] * 8, np.uint8)
    for level in reversed(range(depth)):
        below = body.op("GatherElements", body.op("Concat", runs[level], below, axis=0), sources[level])
    high = body.wide(below)
    return body.op("Add", high, body.planes(segments[depth:], low)) if low else high


def _stream(body: _Body, prefix: str, count: str, kind: str) -> str:
    """A stream as flat int32 [8 * blocks]."""
    depth, bits = split_kind(kind)
    if depth:
        return _huffman(body, prefix, count, depth, bits)
    segments = body.split(body.input(prefix), f"{prefix}_sizes", len(PLANES[bits]))
    return body.planes([body.wide(segment) for segment in segments], bits)


def _shared_values(body: _Body, kind: str, count: str) -> str:
    """Codebook values, flat [8 * blocks]; single planes read whole bytes from a table of codebook rows."""
    depth, bits = split_kind(kind)
    codebook = body.input("codebook")
    if depth == 0 and bits in (1, 2, 4):
        rows = body.op("Gather", codebook, body.fields(bits))
        return body.flat(body.op("Gather", rows, body.wide(body.input("v"))))
    return body.op("GatherElements", codebook, _stream(body, "v", count, kind))


def _entry_values(body: _Body, kind: str) -> str:
    """The values of a sparse layout, flat, exactly ``entries`` of them."""
    if kind in RAW_TYPES:
        return body.input("values")
    return body.head(_shared_values(body, kind, "entries"), "entries")


def _zeros(body: _Body, shape: str, kind: str) -> str:
    data_type = RAW_TYPES.get(kind, TensorProto.FLOAT)
    return body.op("ConstantOfShape", body.attribute(shape), value=helper.make_tensor("", data_type, [1], [0.0]))


def _dense(body: _Body, spec: Spec) -> str:
    values = _shared_values(body, spec.values, "total")
    return body.head(values, "total") if spec.tail else values


def _gaps(body: _Body, spec: Spec) -> str:
    distances = body.head(_stream(body, "p", "entries", spec.positions), "entries")
    positions = body.op("CumSum", distances, body.constant(0, np.int64))
    return body.op("ScatterElements", _zeros(body, "total", spec.values), positions, _entry_values(body, spec.values))


def _nm(body: _Body, spec: Spec) -> str:
    grid = body.attribute("kept")
    positions = body.op("Reshape", body.head(_stream(body, "p", "entries", spec.positions), "entries"), grid)
    values = body.op("Reshape", _entry_values(body, spec.values), grid)
    rows = body.op("ScatterElements", _zeros(body, "groups", spec.values), positions, values, axis=1)
    value = body.op("Transpose", body.op("Reshape", rows, body.attribute("moved")))
    body.refer_ints("perm", "perm")
    return value


LAYOUTS = {"Dense": _dense, "Gaps": _gaps, "NM": _nm}


def _finish(body: _Body, value: str, spec: Spec) -> None:
    """Shape, scale and type."""
    value = body.op("Reshape", value, body.attribute("shape"))
    if spec.scaled:
        table, codes = body.input("scales"), body.input("channels")
        factors = body.op("GatherElements", table, body.wide(codes))
        value = body.op("Mul", value, body.op("Reshape", factors, body.attribute("scale_shape")))
    if spec.converted:
        body.op("Cast", value)
        body.refer_int("to", "to")


@lru_cache(maxsize=256)
def function(op_type: str, opset: int) -> onnx.FunctionProto:
    """The decode function ``op_type`` for a model of this opset (of ``ai.onnx``, at least 13)."""
    spec = spec_of(op_type)
    body = _Body(guards=max((split_kind(kind)[0] for kind in spec.streams), default=0))
    if spec.layout == "Fill":
        body.op("Expand", body.input("value"), body.attribute("shape"))
    else:
        _finish(body, LAYOUTS[spec.layout](body, spec), spec)
    body.nodes[-1].output[0] = "weight"
    return helper.make_function(
        DOMAIN,
        op_type,
        list(spec.inputs),
        ["weight"],
        body.nodes,
        [helper.make_opsetid("", opset)],
        attributes=body.attributes,
    )
