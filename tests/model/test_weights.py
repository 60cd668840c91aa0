"""Which constants are weights, under which names and roles, and how their values are read and replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import Model, Use

RNG = np.random.default_rng(7)


def build(text: str, opset: int = 17, **tensors: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """A model written as ONNX text, with initializers of the main graph added."""
    imports = f'"" : {opset}, "com.microsoft" : 1'
    model = parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {text}")
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [
        ("(float[1,6,9] x) => (float[a,b,c] y) { y = Conv(x, w) }", (8, 6, 3), ("conv", 0, 1, 1)),
        ("(float[1,8,9] x) => (float[a,b,c] y) { y = Conv<group=8>(x, w) }", (8, 1, 9), ("conv", 0, 1, 8)),
        (
            "(float[1,8,9] x) => (float[a,b,c] y) { y = ConvTranspose(x, w) }",
            (8, 4, 3),
            ("conv_transpose", 1, 0, 1),
        ),
        ("(float[3,8] x) => (float[a,b] y) { y = Gemm(x, w) }", (8, 10), ("gemm", 1, 0, 1)),
        ("(float[3,8] x) => (float[a,b] y) { y = Gemm<transB=1>(x, w) }", (10, 8), ("gemm", 0, 1, 1)),
        ("(float[8,3] x) => (float[a,b] y) { y = Gemm(w, x) }", (10, 8), ("gemm", 0, 1, 1)),
        ("(float[8,3] x) => (float[a,b] y) { y = Gemm<transA=1>(w, x) }", (8, 10), ("gemm", 1, 0, 1)),
        ("(float[3,8] x) => (float[a,b] y) { y = MatMul(x, w) }", (8, 10), ("matmul", 1, 0, 1)),
        ("(float[2,3,8] x) => (float[a,b,c] y) { y = MatMul(x, w) }", (2, 8, 10), ("matmul", 2, 1, 1)),
        ("(float[8,3] x) => (float[a,b] y) { y = MatMul(w, x) }", (10, 8), ("matmul", 0, 1, 1)),
        ("(float[64] x) => (float y) { y = MatMul(x, w) }", (64,), ("matmul", None, 0, 1)),
        ("(int64[3] x) => (float[a,b] y) { y = Gather(w, x) }", (20, 4), ("gather", 0, 1, 1)),
        ("(float[20,4] x) => (float[a,b] y) { y = Mul(x, w) }", (20, 4), ("other", 0, None, 1)),
        ("(float[64] x) => (float[a] y) { y = Mul(x, w) }", (64,), ("other", None, None, 1)),
        (
            "(float[3,8] x) => (float[a,b] y) { i = Identity(w)  y = MatMul(x, i) }",
            (8, 10),
            ("matmul", 1, 0, 1),
        ),
        (
            "(float[3,8] x) => (float[a,b] y) { t = Transpose(w)  y = MatMul(x, t) }",
            (10, 8),
            ("matmul", 0, 1, 1),
        ),
        (
            "(float[1,6,9] x) => (float[a,b,c] y) { t = Transpose<perm=[2,0,1]>(w)  y = Conv(x, t) }",
            (6, 3, 8),
            ("conv", 2, 0, 1),
        ),
        (
            "(float[1,6,9] x) => (float[a,b,c] y) "
            "{ s = Constant<value_ints=[8,6,-1]>()  t = Reshape(w, s)  y = Conv(x, t) }",
            (8, 6, 1, 3),
            ("conv", 0, 1, 1),
        ),
        (
            "(float[1,12,9] x) => (float[a,b,c] y) "
            "{ s = Constant<value=int64[3] {8,12,3}>()  t = Reshape(w, s)  y = Conv(x, t) }",
            (96, 3),
            ("conv", None, None, 1),
        ),
    ],
)
def test_roles(text: str, shape: tuple[int, ...], expected: tuple[object, ...]) -> None:
    (weight,) = Model.load(build(f"g {text}", w=floats(*shape))).weights()
    assert (weight.role, weight.channel_axis, weight.reduction_axis, weight.groups) == expected
    assert weight.shape == shape


def test_lstm_matrices() -> None:
    text = "g (float[5,1,6] x) => (float[a,b,c,d] y) { y = LSTM<hidden_size=4>(x, w, r) }"
    found = Model.load(build(text, w=floats(1, 16, 6), r=floats(1, 16, 4))).weights()
    assert [(w.role, w.channel_axis, w.reduction_axis) for w in found] == [("lstm", 1, 2)] * 2


def test_behind_a_cast_of_a_narrower_type() -> None:
    text = "g (float[3,8] x) => (float[a,b] y) { c = Cast<to=1>(w)  y = MatMul(x, c) }"
    (weight,) = Model.load(build(text, w=floats(8, 10).astype(np.float16))).weights()
    assert (weight.role, weight.dtype) == ("matmul", np.float16)
    assert weight.uses == (Use("MatMul", "MatMul -> y", "", 1),)


def test_shared_by_several_nodes() -> None:
    text = "g (int64[3] i) => (float[a,b] y) { e = Gather(w, i)  t = Transpose(w)  y = MatMul(e, t) }"
    (weight,) = Model.load(build(text, w=floats(20, 4))).weights()
    assert [use.op_type for use in weight.uses] == ["Gather", "MatMul"]
    assert (weight.role, weight.channel_axis) == ("gather", 0)


def test_scales_of_quantized_operators_are_no_weights() -> None:
    text = """g (float[64,2] x) => (float[64,2] y) {
        q = QuantizeLinear<axis=0>(x, s, z)
        y = DequantizeLinear<axis=0>(q, s, z)
    }"""
    model = build(text, s=np.ones(64, np.float32), z=np.zeros(64, np.uint8))
    assert Model.load(model).weights() == []


def branches() -> onnx.ModelProto:
    """The same name in both branches, one of which also shadows a tensor of the main graph."""
    model = build(
        """g (bool c, float[3,8] x) => (float[a,b] y) {
            y = If(c) <
              then_branch = t () => (float[a,b] o) { o = MatMul(x, w) },
              else_branch = e () => (float[a,b] o) { i = Identity(outer)  o = MatMul(x, i) }
            >
        }""",
        outer=floats(8, 10),
        w=floats(8, 10),
    )
    then = next(a.g for a in model.graph.node[0].attribute if a.name == "then_branch")
    then.initializer.append(numpy_helper.from_array(floats(8, 10), "w"))
    model.graph.node[0].name = "If_7"
    return model


def test_subgraphs_shadow_and_reach_outwards() -> None:
    found = {weight.name: weight for weight in Model.load(branches()).weights()}
    assert list(found) == ["outer", "w", "then_branch of If_7/w"]
    assert [use.op_type for use in found["outer"].uses] == ["MatMul"]
    assert found["w"].uses == ()
    assert [use.op_type for use in found["then_branch of If_7/w"].uses] == ["MatMul"]


def test_equal_paths_still_give_unique_names() -> None:
    model = branches()
    second = model.graph.node.add()
    second.CopyFrom(model.graph.node[0])
    second.output[0] = "z"
    names = [weight.name for weight in Model.load(model).weights()]
    assert len(set(names)) == len(names) == 4


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("typed", [False, True])
def test_values_of_raw_and_typed_tensors(kind: Any, typed: bool) -> None:
    values = floats(8, 10).astype(kind)
    tensor = numpy_helper.from_array(values, "w")
    if typed:
        tensor = helper.make_tensor("w", tensor.data_type, values.shape, values.reshape(-1))
        assert not tensor.HasField("raw_data")
    model = build("g (int64[3] x) => (int64[3] y) { y = Identity(x) }")
    model.graph.initializer.append(tensor)
    loaded = Model.load(model)
    (weight,) = loaded.weights()
    assert np.array_equal(weight.values(), values) and weight.values().dtype == kind
    assert not weight.values().flags.writeable
    weight.assign(values * 2)
    assert np.array_equal(weight.values(), values * 2)
    onnx.checker.check_model(loaded.proto)


def test_bfloat16_and_integers_are_left() -> None:
    model = build("g (int64[3] x) => (int64[3] y) { y = Identity(x) }", i=np.arange(100))
    model.graph.initializer.append(helper.make_tensor("b", TensorProto.BFLOAT16, [64], [1.0] * 64))
    assert Model.load(model).weights() == []


def test_assign_refuses_other_shapes_and_types() -> None:
    (weight,) = Model.load(build("g (float[1,8] x) => (float[a,b] y) { y = MatMul(x, w) }", w=floats(8, 10))).weights()
    with pytest.raises(ModelError, match="'w'"):
        weight.assign(floats(10, 8))
    with pytest.raises(ModelError, match="'w'"):
        weight.assign(floats(8, 10).astype(np.float64))


def test_notes_outlive_calls_and_compaction() -> None:
    model = Model.load(build("g (float[1,512] x) => (float[a,b] y) { y = MatMul(x, w) }", w=floats(512, 1024)))
    (weight,) = model.weights()
    weight.note = "anything"  # type: ignore[assignment]
    values = floats(512, 1024)
    weight.assign(values)
    before = model.proto
    model.compact()
    assert model.proto is not before
    assert model.weights()[0].note == "anything"
    assert np.array_equal(weight.values(), values)
    weight.note = None
    assert model.notes == {}


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99), external=st.booleans())
def test_what_is_assigned_is_read(tmp_path_factory: Any, shape: list[int], seed: int, external: bool) -> None:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    proto = build("g (int64[3] x) => (int64[3] y) { y = Identity(x) }", w=np.zeros(shape, np.float32))
    folder: Path = tmp_path_factory.mktemp("m")
    onnx.save(proto, folder / "m.onnx", save_as_external_data=external, location="d", size_threshold=0)
    model = Model.load(folder / "m.onnx")
    (weight,) = model.weights(minimum=1)
    weight.assign(values)
    weight.assign(weight.values())
    assert np.array_equal(weight.values(), values)
    model.save(folder / "out.onnx")
    (again,) = Model.load(folder / "out.onnx").weights(minimum=1)
    assert np.array_equal(again.values(), values)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("holder", ["initializer", "constant", "branch", "output"])
def test_replace_by_node(holder: str) -> None:
    values = floats(8, 10)
    text = {
        "initializer": "g (float[3,8] x) => (float[a,b] y) { y = MatMul(x, w) }",
        "constant": "g (float[3,8] x) => (float[a,b] y) { w = Constant()  y = MatMul(x, w) }",
        "branch": """g (float[3,8] x) => (float[a,b] y) {
            c = Constant<value=bool {1}>()
            y = If(c) <then_branch = t () => (float[a,b] o) { w = Constant()  o = MatMul(x, w) },
                       else_branch = e () => (float[a,b] o) { o = Identity(x) }>
        }""",
        "output": "g (float[3,8] x) => (float[a,b] y, float[8,10] w) { y = MatMul(x, w) }",
    }[holder]
    proto = build(text)
    graph = proto.graph
    if holder == "branch":
        graph = next(a.g for a in proto.graph.node[1].attribute if a.name == "then_branch")
    if holder in ("constant", "branch"):
        graph.node[0].attribute.append(helper.make_attribute("value", numpy_helper.from_array(values)))
    else:
        graph.initializer.append(numpy_helper.from_array(values, "w"))
    if holder == "initializer":
        graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [8, 10]))
    model = Model.load(proto)
    (weight,) = model.weights()
    halves = [numpy_helper.from_array(half, name) for half, name in zip(np.split(values, 2), ("x", "h"), strict=True)]
    model.replace_by_node(weight, helper.make_node("Concat", ["x", "h"], ["ignored"], axis=0), halves)
    model.check()
    assert [value.name for value in model.proto.graph.input] == ["x"]
    x = floats(3, 8)
    result = ort.InferenceSession(model.proto.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(result[0], x @ values, rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match="no longer"):
        weight.values()


def test_packed_models_are_known() -> None:
    proto = build("g (float[3,8] x) => (float[a,b] y) { y = MatMul(x, w) }", w=floats(8, 10))
    assert not Model.load(proto).is_packed
    proto.opset_import.add(domain="ai.onnxsqueeze", version=1)
    assert Model.load(proto).is_packed
