"""Packed weights as models that a stock runtime opens, and weights packed under any operator name."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from onnxsqueeze.encode import Encoded
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.huffman import code_lengths
from onnxsqueeze.encode.names import split_kind
from onnxsqueeze.encode.nodes import to_node
from onnxsqueeze.encode.streams import Stream
from onnxsqueeze.runtime import native

Array = npt.NDArray[Any]

OPSETS = (13, 17, 21, 25)
LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


# Models


def model_of(weights: list[tuple[Encoded, Array]], opset: int) -> onnx.ModelProto:
    """A model without inputs whose output ``y<i>`` is the i-th weight; the arrays give types and shapes."""
    nodes, initializers, outputs, kinds = [], [], [], set()
    for i, (encoded, dense) in enumerate(weights):
        node, tensors = to_node(encoded, f"w{i}", f"{i}.")
        nodes += [node, helper.make_node("Identity", [f"w{i}"], [f"y{i}"])]
        initializers += tensors
        data_type = helper.np_dtype_to_tensor_dtype(dense.dtype)
        outputs.append(helper.make_tensor_value_info(f"y{i}", data_type, dense.shape))
        kinds.add(encoded.op_type)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(
        helper.make_graph(nodes, "weights", [], outputs, initializers),
        opset_imports=imports,
        functions=[function(kind, opset) for kind in sorted(kinds)],
        ir_version=max(8, helper.find_min_ir_version_for(imports[:1])),
    )


def run(model: onnx.ModelProto, level: str) -> tuple[list[Array], set[str]]:
    """The outputs under a level of optimization, and the operators left after it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        session = ort.InferenceSession(model.SerializeToString(), options)
        left = {node.op_type for node in onnx.load(path).graph.node}
    return session.run(None, {}), left


def facts(encoded: Encoded) -> Any:
    """All that an Encoded is, comparable."""
    inputs = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in encoded.inputs.items()}
    return encoded.op_type, inputs, encoded.attributes, encoded.to


# Streams of any kind


def code_of_depth(rng: np.random.Generator, leaves: int, depth: int) -> Array:
    """Lengths of a complete code, non-decreasing, as deep as ``depth`` where there are leaves enough."""
    lengths = [0]
    while len(lengths) < leaves:
        at = len(lengths) - 1 if max(lengths) < depth else int(rng.integers(len(lengths)))
        if lengths[at] < depth:
            lengths[at : at + 1] = [lengths[at] + 1] * 2
    return np.sort(np.array(lengths, np.uint8))


def most_leaves(kind: str) -> int:
    """How many leaves a Huffman stream may have: what one byte and what its levels hold."""
    depth, low = split_kind(kind)
    return min(256 >> low, 1 << depth)


def some_integers(rng: np.random.Generator, kind: str, count: int) -> Array:
    """Random integers that a stream of this kind can hold; a Huffman stream's high parts are 0 … L-1."""
    depth, bits = split_kind(kind)
    if depth == 0:
        return rng.integers(0, 1 << bits, count).astype(np.uint8)
    leaves = int(min(most_leaves(kind), max(2, rng.integers(2, 30)), count))
    high = np.minimum(rng.geometric(0.4, count) - 1, leaves - 1)
    high[rng.permutation(count)[:leaves]] = np.arange(leaves)
    return ((high << bits) | rng.integers(0, 1 << bits, count)).astype(np.uint8)


def stream_of(rng: np.random.Generator, kind: str, integers: Array) -> Stream:
    """The stream that holds these integers, whose high parts are 0 … L-1, all used."""
    depth, bits = split_kind(kind)
    if depth == 0:
        return Stream(kind, *native.pack(integers, bits))
    leaf = integers >> bits
    counts = np.bincount(leaf)
    assert counts.min() > 0
    optimal = rng.random() < 0.5 and len(counts) <= 1 << depth
    lengths = code_lengths(counts, depth) if optimal else code_of_depth(rng, len(counts), depth)
    payload, sizes, zeros, leaves, starts = native.huffman_encode(leaf, np.sort(lengths).astype(np.uint8))
    unused = [0] * (depth - len(zeros))
    sizes += unused
    if bits:
        planes, plane_sizes = native.pack(integers & ((1 << bits) - 1), bits)
        payload, sizes = np.concatenate([payload, planes]), sizes + plane_sizes
    return Stream(kind, payload, sizes, zeros + unused, leaves + unused, starts)


AWKWARD = np.array(
    [0.0, -0.0, 1.0, -1.5, 65504.0, 65520.0, -1e30, 3.4028235e38, 1e-40, -1e-45, 6e-8, -5.9e-5, 1e-20, 2.5],
    np.float32,
)  # zeros of both signs, what overflows and what underflows float16, subnormals


def some_floats(rng: np.random.Generator, count: int, dtype: Any = np.float32) -> Array:
    """Random values, a third of them awkward."""
    values = rng.standard_normal(count).astype(np.float32)
    awkward = rng.random(count) < 0.3
    values[awkward] = rng.choice(AWKWARD, int(awkward.sum()))
    with np.errstate(over="ignore"):
        return values.astype(dtype)


# Weights under any name


class Packer:
    """Packs random weights under a given operator name, and says what they decode to."""

    def __init__(self, name: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: dict[str, Array] = {}
        self.attributes: dict[str, list[int]] = {}
        layout, *rest = name.split("_")
        self.name, self.layout = name, layout
        self.flags = [part for part in rest if part in ("S", "C", "T")]
        self.kinds = [part for part in rest if part not in self.flags]

    def pack(self, shape: tuple[int, ...], to: int = 0, group: int = 4) -> tuple[Encoded, Array]:
        """An encoding of a weight of this shape, and the weight."""
        total = math.prod(shape)
        self.attributes["shape"] = list(shape)
        if self.layout == "Fill":
            dtype = {0: np.float32, 10: np.float16, 11: np.float64}[to]
            self.inputs["value"] = some_floats(self.rng, 1, dtype)
            return Encoded("Fill", self.inputs, self.attributes), np.full(shape, self.inputs["value"][0])
        make = {"Dense": self._dense, "Gaps": self._gaps, "NM": lambda n: self._nm(shape, group)}[self.layout]
        weight = make(total).reshape(shape)
        if "S" in self.flags:
            weight = self._scale(weight)
        if "C" in self.flags:
            with np.errstate(over="ignore"):
                weight = weight.astype({10: np.float16, 11: np.float64}[to])
        return Encoded(self.name, self.inputs, self.attributes, to), weight

    def _add(self, prefix: str, kind: str, integers: Array) -> None:
        stream = stream_of(self.rng, kind, integers)
        self.inputs[prefix] = stream.payload
        self.attributes |= stream.attributes(prefix)

    def _values(self, kind: str, count: int) -> Array:
        if kind.startswith("Raw"):
            dtype = {"Raw16": np.float16, "Raw32": np.float32, "Raw64": np.float64}[kind]
            self.inputs["values"] = some_floats(self.rng, count, dtype)
            return self.inputs["values"]
        integers = some_integers(self.rng, kind, count)
        depth, bits = split_kind(kind)
        slots = (int(integers.max() >> bits) + 1) << bits if depth else 1 << bits
        codebook = some_floats(self.rng, slots)
        self.inputs["codebook"] = codebook
        self._add("v", kind, integers)
        return codebook[integers]

    def _dense(self, total: int) -> Array:
        self.attributes["total"] = [total]
        return self._values(self.kinds[0], total)

    def _gaps(self, total: int) -> Array:
        kind = self.kinds[0]
        longest = (1 << split_kind(kind)[1]) - 1 if kind.startswith("P") else 255
        count = max(2, min(total // 2, 2 * total // (longest + 1)))
        for _ in range(20):
            distances = some_integers(self.rng, kind, count)
            low = split_kind(kind)[1] if kind.startswith("H") else 0
            if low or kind.startswith("P"):
                distances[1:][distances[1:] == 0] = 1
            else:  # without low bits the leaf number is the distance, and 0 may only come first
                distances = np.concatenate([[0], distances[distances > 0]]).astype(np.uint8)
            if distances.sum(dtype=np.int64) < total:
                break
            count = max(2, count // 2)
        positions = np.cumsum(distances, dtype=np.int64)
        assert positions[-1] < total, "the weight is too small for this name"
        self.attributes |= {"total": [total], "entries": [len(distances)]}
        self._add("p", kind, distances)
        values = self._values(self.kinds[1], len(distances))
        flat = np.zeros(total, values.dtype)
        flat[positions] = values
        return flat

    def _nm(self, shape: tuple[int, ...], group: int) -> Array:
        axis = next(i for i in range(len(shape)) if shape[i] % group == 0)
        groups = math.prod(shape) // group
        kept = int(self.rng.integers(1, group))
        places = np.argsort(self.rng.random((groups, group)), axis=1)[:, :kept]
        places = np.sort(places, axis=1).astype(np.uint8)
        axes = [*(i for i in range(len(shape)) if i != axis), axis]
        self.attributes |= {"groups": [groups, group], "kept": [groups, kept], "entries": [groups * kept]}
        self.attributes |= {"moved": [shape[i] for i in axes], "perm": np.argsort(axes).tolist()}
        self._add("p", self.kinds[0], places.reshape(-1))
        values = self._values(self.kinds[1], groups * kept)
        rows = np.zeros((groups, group), values.dtype)
        for row, at, items in zip(rows, places, values.reshape(groups, kept), strict=True):
            row[at] = items
        return np.moveaxis(rows.reshape(self.attributes["moved"]), -1, axis)

    def _scale(self, weight: Array) -> Array:
        axis = int(self.rng.integers(weight.ndim))
        channels = weight.shape[axis]
        table = np.exp2(self.rng.uniform(-3, 3, int(self.rng.integers(1, 17)))).astype(np.float32)
        codes = self.rng.integers(0, len(table), channels).astype(np.uint8)
        factors = [1] * weight.ndim
        factors[axis] = channels
        self.inputs |= {"scales": table, "channels": codes}
        self.attributes["scale_shape"] = factors
        with np.errstate(over="ignore"):
            return weight * table[codes].reshape(factors)
