"""Shapes, MACs and bytes of nodes and weights, against figures worked out by hand and against published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import onnxsqueeze
from onnxsqueeze import cost, zoo
from onnxsqueeze.cost.device import KINDS
from onnxsqueeze.cost.operators import RULES
from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo import graphs

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


def build(text: str, **tensors: Any) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def random(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def only(model: onnx.ModelProto, op: str, shapes: dict[str, Any] | None = None) -> cost.NodeWork:
    (node,) = (n for n in cost.analyse(model, shapes).nodes if n.op == op)
    return node


@pytest.mark.parametrize(
    ("text", "tensors", "op", "macs", "operations"),
    [
        ("(float[2,3,8,8] x) => (float[n] y) { y = Conv <pads=[1,1,1,1]> (x, w) }", {"w": (16, 3, 3, 3)},
         "Conv", 2 * 16 * 8 * 8 * 27, 0),
        ("(float[1,8,8,8] x) => (float[n] y) { y = Conv <group=8> (x, w) }", {"w": (8, 1, 3, 3)}, "Conv",
         8 * 6 * 6 * 9, 0),
        ("(float[1,4,5,5] x) => (float[n] y) { y = ConvTranspose <strides=[2,2]> (x, w) }", {"w": (4, 6, 2, 2)},
         "ConvTranspose", 4 * 25 * 6 * 4, 0),
        ("(float[5,7] x) => (float[n] y) { y = Gemm (x, w, b) }", {"w": (7, 9), "b": (9,)}, "Gemm", 5 * 7 * 9, 45),
        ("(float[2,3,5,7] x) => (float[n] y) { y = MatMul (x, w) }", {"w": (7, 9)}, "MatMul", 2 * 3 * 5 * 7 * 9, 0),
        ("(float[5,2,8] x) => (float[n] y) { y = LSTM <hidden_size=16> (x, w, r) }",
         {"w": (1, 64, 8), "r": (1, 64, 16)}, "LSTM", 5 * 2 * 64 * (8 + 16), 5 * 2 * 64 * 12),
        ("(float[5,2,8] x) => (float[n] y) { y = GRU <hidden_size=16, direction=\"bidirectional\"> (x, w, r) }",
         {"w": (2, 48, 8), "r": (2, 48, 16)}, "GRU", 2 * 5 * 2 * 48 * (8 + 16), 2 * 5 * 2 * 48 * 12),
        ("(float[3,4] x) => (float[n] y) { y = Relu (x) }", {}, "Relu", 0, 12),
        ("(float[1,2,8,8] x) => (float[n] y) { y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x) }", {},
         "MaxPool", 0, 2 * 16 * 4),
    ],
)  # fmt: skip
def test_work_of_operators(text: str, tensors: dict[str, Any], op: str, macs: int, operations: int) -> None:
    node = only(build(text, **{name: random(*shape) for name, shape in tensors.items()}), op)
    assert (node.macs, node.operations) == (macs, operations)
    assert node.output_shape and node.kind in KINDS


def test_shapes_are_those_that_onnxruntime_computes() -> None:
    """Behind shape arithmetic, too: Shape, Gather, Concat and Reshape are followed by value."""
    model = build(
        "(float[n,3,h,w] x) => (float[a,b] y) { c = Conv <strides=[2,2]> (x, k)  s = Shape (c)  n1 = Gather (s, zero)"
        "  m = Unsqueeze (n1, zeros)  t = Concat <axis=0> (m, minus)  r = Reshape (c, t)  y = Relu (r) }",
        k=random(8, 3, 3, 3),
        zero=np.array(0),
        zeros=np.array([0]),
        minus=np.array([-1]),
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (real,) = session.run(None, {"x": random(2, 3, 33, 47)})
    assert only(model, "Relu", {"x": (2, 3, 33, 47)}).output_shape == real.shape
    assert only(model, "Relu", {"n": 2, "h": 33, "w": 47}).output_shape == real.shape


def test_sizes_that_are_not_given_are_assumed_and_said() -> None:
    model = build("(float[n,3,h,w] x) => (float[a] y) { y = Conv (x, k) }", k=random(8, 3, 3, 3))
    found = cost.analyse(model)
    assert found.inputs == {"x": (1, 3, 224, 224)}
    assert found.assumed == ("x[0] = 1", "x[2] = 224", "x[3] = 224")
    assert cost.analyse(model, {"n": 4, "h": 32, "w": 32}).assumed == ()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1,)}, "z"),
        ({"x": (1, 3)}, "x"),
        ({"x": (1, 4, 8, 8)}, "x"),
        ({"n": 0}, "n"),
        ({"x": (1, 3, 1, 1)}, "fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, Any], message: str) -> None:
    model = build("(float[n,3,h,w] x) => (float[a] y) { y = Conv (x, k) }", k=random(8, 3, 3, 3))
    with pytest.raises(ModelError, match=message):
        cost.analyse(model, shapes)


def test_loops_run_as_often_as_they_say() -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w"], ["o"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 16]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 16]),
        ],
    )
    loop = helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)
    graph = helper.make_graph(
        [loop],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(random(16, 16), "w"), numpy_helper.from_array(np.array(7), "trips")],
    )
    node = only(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "MatMul")
    assert (node.runs, node.macs) == (7, 7 * 256)


def test_zeros_and_patterns_are_found() -> None:
    weight = random(64, 64)
    weight[:, ::2] = 0
    work = cost.analyse(build("(float[1,64] x) => (float[a] y) { y = MatMul (x, w) }", w=weight))
    (found,) = work.weights
    assert (found.zeros, found.pattern, found.nbytes) == (2048, (2, 4), 4 * 4096)
    assert work.nonzero_macs == 2048 and work.macs == 4096


def test_packed_weights_count_as_they_lie_in_the_file(tmp_path: Path) -> None:
    result = onnxsqueeze.compress(LENET, tmp_path / "small.onnx", "prune{sparsity=0.9},share{bits=4},huffman")
    before, after = cost.analyse(LENET), cost.analyse(tmp_path / "small.onnx")
    assert (before.macs, before.parameters) == (after.macs, after.parameters)
    assert before.stored_nbytes == before.weight_nbytes == after.weight_nbytes
    packed = {row.name: row for row in result.weights}
    for weight in after.weights:
        if weight.encoding != "dense":
            assert weight.stored_nbytes == packed[weight.name].nbytes, weight.name
    assert after.nonzero_macs < 0.6 * after.macs
    assert sum(node.stored_nbytes for node in after.nodes) == after.stored_nbytes


def test_shared_weights_are_stored_once() -> None:
    work = cost.analyse(
        build("(float[1,64] x) => (float[a] y) { h = MatMul (x, w)  y = MatMul (h, w) }", w=random(64, 64))
    )
    assert [node.stored_nbytes for node in work.nodes] == [4 * 4096, 0]
    assert work.weights[0].nodes == tuple(node.name for node in work.nodes)


def test_operators_that_are_not_known_are_listed() -> None:
    model = build("(float[1,64] x) => (float[1,64] y) { h = MatMul (x, w) }", w=random(64, 64))
    model.graph.node.append(helper.make_node("Magic", ["h"], ["y"], "trick", domain="com.acme"))
    model.opset_import.add(domain="com.acme", version=1)
    found = cost.analyse(model)
    assert found.uncovered == ("com.acme.Magic (trick)",)
    assert found.macs == 4096


def test_the_table_has_every_computing_operator_of_the_standard() -> None:
    """But for control flow, which the walk follows, and what models that are compressed cannot hold."""
    schemas = {s.name for s in onnx.defs.get_all_schemas() if s.domain in ("", "ai.onnx") and not s.deprecated}
    missing = schemas - {name for _, name in RULES}
    known = {"If", "Loop", "Scan", "Constant"}
    texts = {name for name in missing if name.startswith(("String", "Regex")) or "Idf" in name}
    rare = {
        "AffineGrid", "BlackmanWindow", "Det", "GlobalLpPool", "HammingWindow", "HannWindow", "ImageDecoder",
        "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss", "SequenceMap",
        "SoftmaxCrossEntropyLoss", "TensorScatter", "RotaryEmbedding", "BitCast", "CumProd", "LinearAttention",
        "CausalConvWithState", "SwiGLU",
    }  # fmt: skip
    assert missing - known - texts <= rare


@pytest.fixture
def fast_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are quick to make: only their shapes count."""
    monkeypatch.setattr(graphs, "_he", lambda generator, shape: np.full(shape, 0.1, np.float32))


@pytest.mark.usefixtures("fast_weights")
def test_alexnet() -> None:
    """Krizhevsky et al. 2012, as torchvision builds it."""
    found = cost.analyse(graphs.alexnet())
    assert 61e6 <= found.parameters <= 62e6
    assert 233 <= found.weight_nbytes / 2**20 <= 250 and 233 <= found.weight_nbytes / 1e6 <= 250
    assert found.macs == pytest.approx(0.7e9, rel=0.03)
    full = [node for node in found.nodes if node.op == "Gemm"]
    conv = [node for node in found.nodes if node.op == "Conv"]
    assert 0.94 <= sum(n.weight_elements for n in full) / found.parameters <= 0.965
    assert sum(n.macs for n in conv) / found.macs > 0.9


@pytest.mark.usefixtures("fast_weights")
@pytest.mark.parametrize(
    ("build", "gigamacs"),
    [(graphs.squeezenet, 0.819), (graphs.resnet50, 4.09), pytest.param(graphs.vgg16, 15.47, marks=pytest.mark.slow)],
)
def test_published_macs(build: Any, gigamacs: float) -> None:
    """As torchvision and the papers give them for one image of 224 x 224."""
    assert cost.analyse(build()).macs == pytest.approx(gigamacs * 1e9, rel=0.02)


@pytest.mark.zoo
@pytest.mark.parametrize("name", zoo.names())
def test_every_operator_of_the_zoo_is_covered(name: str) -> None:
    found = cost.analyse(zoo.fetch(name))
    assert found.uncovered == ()
    assert found.macs > 0 and all(node.kind in (*KINDS, "free") for node in found.nodes)
