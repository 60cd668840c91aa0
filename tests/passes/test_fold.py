"""Fold: every rewrite with its count, a case that must not match, and the outputs before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from onnxsqueeze.model import Model
from onnxsqueeze.passes.fold import Fold

Tensors = dict[str, np.ndarray[Any, Any]]
RNG = np.random.default_rng(5)


def build(text: str, opset: int = 17, **tensors: np.ndarray[Any, Any]) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def norm(channels: int, seed: int = 0, kind: Any = np.float32) -> Tensors:
    """Parameters of a BatchNormalization."""
    rng = np.random.default_rng(seed)
    made = {name: rng.standard_normal(channels) for name in ("gamma", "beta", "mean")}
    made["var"] = rng.uniform(0.5, 2, channels)
    return {name: value.astype(kind) for name, value in made.items()}


def fold(proto: onnx.ModelProto, tolerance: float = 1e-4, **options: bool) -> tuple[int, onnx.ModelProto]:
    """Folds, checks validity, signature and outputs (exactly when the tolerance is 0)."""
    model = Model.load(proto)
    changes = Fold(**options)(model, None)
    model.check()
    before = ort.InferenceSession(proto.SerializeToString())
    after = ort.InferenceSession(model.proto.SerializeToString())
    assert _signature(before) == _signature(after)
    assert list(model.proto.graph.output) == list(proto.graph.output)
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(bool)": np.bool_}
    feeds = {i.name: RNG.standard_normal(i.shape).astype(kinds[i.type]) for i in before.get_inputs()}
    for old, new in zip(before.run(None, feeds), after.run(None, feeds), strict=True):
        np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance)
    if changes == 0:
        assert model.proto.SerializeToString() == Model.load(proto).proto.SerializeToString()
    assert Fold(**options)(model, None) == 0
    return changes, model.proto


def _signature(session: ort.InferenceSession) -> list[tuple[str, str, object]]:
    return [(i.name, i.type, i.shape) for i in (*session.get_inputs(), *session.get_outputs())]


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


BN = "BatchNormalization<epsilon=0.001>"


@pytest.mark.parametrize(
    ("body", "shape", "tensors"),
    [
        (f"t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var)", "1,4,6,6", {"w": floats(8, 4, 3, 3)}),
        (
            f"t = Conv<group=4>(x, w, b)  y = {BN}(t, gamma, beta, mean, var)",
            "1,4,9",
            {"w": floats(8, 1, 3), "b": floats(8)},
        ),
        (
            f"t = ConvTranspose<group=2>(x, w, b)  y = {BN}(t, gamma, beta, mean, var)",
            "1,6,5,5",
            {"w": floats(6, 4, 3, 3), "b": floats(8)},
        ),
        (f"t = ConvTranspose(x, w)  y = {BN}(t, gamma, beta, mean, var)", "1,6,5", {"w": floats(6, 8, 3)}),
        (
            f"t = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, b)  y = {BN}(t, gamma, beta, mean, var)",
            "3,5",
            {"w": floats(8, 5), "b": floats(8)},
        ),
        (f"t = Gemm<alpha=0.5>(x, w)  y = {BN}(t, gamma, beta, mean, var)", "3,5", {"w": floats(5, 8)}),
        (
            f"t = Gemm<transA=1, beta=3.0>(x, w, b)  y = {BN}(t, gamma, beta, mean, var)",
            "5,3",
            {"w": floats(5, 8), "b": floats(1)},
        ),
        (
            f"t = MatMul(x, w)  s = Add(b, t)  y = {BN}(s, gamma, beta, mean, var)",
            "3,5",
            {"w": floats(5, 8), "b": floats(8)},
        ),
        (
            f"i = Identity(w)  t = Conv(x, i)  y = {BN}(t, gamma, beta, mean, var)",
            "1,4,9",
            {"w": floats(8, 4, 3)},
        ),
    ],
)
def test_batchnorm_goes_into_the_weight(body: str, shape: str, tensors: Tensors) -> None:
    rank = shape.count(",") + 1
    text = f"(float[{shape}] x) => (float[{','.join('abcd'[:rank])}] y) {{ {body} }}"
    changes, model = fold(build(text, **tensors, **norm(8)))
    assert changes >= 5  # the node and its four parameters
    assert "BatchNormalization" not in ops(model)
    assert len(model.graph.initializer) == 2


def test_batchnorm_after_a_bare_matmul_becomes_a_bias() -> None:
    text = f"(float[3,5] x) => (float[a,b] y) {{ t = MatMul(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    _, model = fold(build(text, w=floats(5, 8), **norm(8)))
    assert ops(model) == ["MatMul", "Add"]


@pytest.mark.parametrize("opset", [9, 11, 13, 14, 15, 18, 22])
def test_batchnorm_in_every_opset(opset: int) -> None:
    text = f"(float[1,4,9] x) => (float[a,b,c] y) {{ t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    _, model = fold(build(text, opset, w=floats(8, 4, 3), **norm(8)))
    assert ops(model) == ["Conv"]


def test_batchnorm_in_half_precision() -> None:
    text = f"(float16[1,4,9] x) => (float16[a,b,c] y) {{ t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    proto = build(text, w=floats(8, 4, 3).astype(np.float16), **norm(8, kind=np.float16))
    _, model = fold(proto, tolerance=2e-2)
    assert ops(model) == ["Conv"]
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}


def test_two_batchnorms_in_a_row() -> None:
    text = f"""(float[1,4,9] x) => (float[a,b,c] y) {{
        t = Conv(x, w)  u = {BN}(t, gamma, beta, mean, var)  y = {BN}(u, gamma, beta, mean, var)
    }}"""
    _, model = fold(build(text, w=floats(8, 4, 3), **norm(8)))
    assert ops(model) == ["Conv"]


def test_batchnorm_in_a_branch() -> None:
    text = f"""(bool[1] c, float[1,4,9] x) => (float[a,b,d] y) {{
        y = If(c) <
            then_branch = t () => (float[a1,b1,d1] o) {{
                t = Conv(x, w)  o = {BN}(t, gamma, beta, mean, var)
            }},
            else_branch = e () => (float[a2,b2,d2] o) {{ o = Identity(x) }}
        >
    }}"""
    proto = build(text, w=floats(8, 4, 3), **norm(8))
    _, model = fold(proto)
    then = next(a.g for a in model.graph.node[0].attribute if a.name == "then_branch")
    assert [node.op_type for node in then.node] == ["Conv"]


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("y = {BN}(x, gamma, beta, mean, var)", ""),
        ("t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var)", ", float[A,B,C] t"),  # an output
        ("t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var)  z = Relu(t)", ", float[A,B,C] z"),
        ("t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var)  z = Conv(x, w)", ", float[A,B,C] z"),  # shared
        ("g = Abs(w)  t = Conv(x, g)  y = {BN}(t, gamma, beta, mean, var)", ""),  # not constant
        ("r = Abs(gamma)  t = Conv(x, w)  y = {BN}(t, r, beta, mean, var)", ""),
        ("c = Conv(x, w)  t = Relu(c)  y = {BN}(t, gamma, beta, mean, var)", ""),
        ("t = MatMul(x, v)  y = {BN}(t, gamma, beta, mean, var)", ""),  # of three dimensions
        ("r = Abs(b)  t = Conv(x, w, r)  y = {BN}(t, gamma, beta, mean, var)", ""),
    ],
)
def test_batchnorm_that_must_stay(body: str, more: str) -> None:
    text = f"(float[1,8,9] x) => (float[a,b,c] y{more}) {{ {body.replace('{BN}', BN)} }}"
    tensors = {"w": floats(8, 8, 3), "b": floats(8), "v": floats(9, 8)} | norm(8)
    used = {name: value for name, value in tensors.items() if any(name in n.input for n in build(text).graph.node)}
    changes, model = fold(build(text, **used))
    assert changes == 0
    assert "BatchNormalization" in ops(model)


def test_batchnorm_in_training_stays() -> None:
    text = """(float[1,4,9] x) => (float[a,b,c] y) {
        t = Conv(x, w)  y, m, v = BatchNormalization<training_mode=1>(t, gamma, beta, mean, var)
    }"""
    model = Model.load(build(text, w=floats(8, 4, 3), **norm(8)))
    Fold()(model, None)
    assert ops(model.proto) == ["Conv", "BatchNormalization"]


def test_batchnorm_that_would_overflow_stays() -> None:
    text = f"(float16[1,4,9] x) => (float16[a,b,c] y) {{ t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    tensors = norm(8, kind=np.float16) | {"gamma": np.full(8, 6e4, np.float16)}
    model = Model.load(build(text, w=np.full((8, 4, 3), 100, np.float16), **tensors))
    Fold(duplicates=False)(model, None)
    assert ops(model.proto) == ["Conv", "BatchNormalization"]


def test_options_switch_parts_off() -> None:
    text = f"(float[1,4,9] x) => (float[a,b,c] y) {{ t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    proto = build(text, w=floats(8, 4, 3), v=floats(3), **norm(8))
    changes, model = fold(proto, batchnorm=False, dead=False)
    assert (changes, len(model.graph.initializer)) == (0, 6)
    changes, model = fold(proto, batchnorm=False)
    assert (changes, len(model.graph.initializer)) == (1, 5)


def test_parameters_listed_as_inputs_are_constants() -> None:
    text = f"(float[1,4,9] x) => (float[a,b,c] y) {{ t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    proto = build(text, w=floats(8, 4, 3), **norm(8))
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    _, model = fold(proto)
    assert ops(model) == ["Conv"]
    assert [value.name for value in model.graph.input] == ["x"]
    assert len(model.graph.initializer) == 2


def test_a_stale_note_goes_with_the_values() -> None:
    text = f"(float[1,4,9] x) => (float[a,b,c] y) {{ t = Conv(x, w)  y = {BN}(t, gamma, beta, mean, var) }}"
    model = Model.load(build(text, w=floats(8, 4, 3), **norm(8)))
    model.notes["w"] = "of the old values"  # type: ignore[assignment]
    Fold()(model, None)
    assert model.notes == {}


@settings(max_examples=30, deadline=None)
@given(
    transposed=st.booleans(),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    spatial=st.integers(1, 2),
    seed=st.integers(0, 999),
)
def test_any_convolution(transposed: bool, groups: int, bias: bool, spatial: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel = rng.integers(1, 4, spatial).tolist()
    inputs = 4 if transposed else 4 // groups
    outputs = 8 // groups if transposed else 8
    tensors = {"w": rng.standard_normal([inputs, outputs, *kernel]).astype(np.float32)}
    if not transposed:
        tensors["w"] = rng.standard_normal([outputs, inputs, *kernel]).astype(np.float32)
    if bias:
        tensors["b"] = rng.standard_normal(8).astype(np.float32)
    op = "ConvTranspose" if transposed else "Conv"
    text = f"""(float[1,4{",5" * spatial}] x) => (float[{",".join("abcd"[: spatial + 2])}] y) {{
        t = {op}<group={groups}>(x, w{", b" if bias else ""})  y = {BN}(t, gamma, beta, mean, var)
    }}"""
    _, model = fold(build(text, **tensors, **norm(8, seed)))
    assert ops(model) == [op]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Identity(x)  b = Identity(a)  y = Relu(b)", ["Relu"]),
        ("a = Relu(x)  y = Identity(a)", ["Relu"]),
        ("a = Relu(x)  b = Identity(a)  c = Neg(a)  d = Add(b, c)  y = Identity(d)", ["Relu", "Neg", "Add"]),
        ("y = Identity(x)", ["Identity"]),
        ("i = Identity(k)  y = Add(x, i)", ["Add"]),
        ("a = Identity(x)  d = Neg(x)  y = Relu(a)", ["Relu"]),  # the Neg is dead
    ],
)
def test_identities(body: str, left: list[str]) -> None:
    proto = build(f"(float[4] x) => (float[4] y) {{ {body} }}")
    if "k" in body:
        proto.graph.initializer.append(numpy_helper.from_array(floats(4), "k"))
    changes, model = fold(proto, tolerance=0)
    assert ops(model) == left
    assert changes == len(proto.graph.node) - len(left)


def test_identity_between_two_outputs_stays() -> None:
    proto = build("(float[4] x) => (float[4] y, float[4] z) { y = Relu(x)  z = Identity(y) }")
    assert fold(proto, tolerance=0)[0] == 0


def test_identity_that_hands_an_outer_value_to_a_branch_stays() -> None:
    proto = build("""(bool[1] c, float[4] x) => (float[4] y) {
        i = Identity(x)
        y = If(c) <
            then_branch = t () => (float[4] o) { o = Identity(i) },
            else_branch = e () => (float[4] o) { n = Neg(i)  o = Identity(n) }
        >
    }""")
    changes, model = fold(proto, tolerance=0)
    assert changes == 2
    assert ops(model) == ["If"]


def test_identity_whose_source_is_shadowed_in_the_user_stays() -> None:
    proto = build(
        """(bool[1] c, float[4] x) => (float[4] y) {
            i = Identity(k)
            y = If(c) <
                then_branch = t () => (float[4] o) <float[4] k = {1, 2, 3, 4}> { o = Add(i, k) },
                else_branch = e () => (float[4] o) { o = Neg(x) }
            >
        }""",
        k=floats(4),
    )
    model = Model.load(proto)
    assert Fold()(model, None) == 0


def test_duplicates_of_any_type_are_shared() -> None:
    text = """(float[4] x) => (float[4] y) {
        c = Constant<value=float[4] {1, 2, 3, 4}>()
        r = Reshape(x, s)  q = Reshape(r, t)  a = Add(q, k)  b = Mul(a, m)  y = Add(b, c)
    }"""
    same, size = np.array([1, 2, 3, 4], np.float32), np.array([4])
    changes, model = fold(build(text, k=same, m=same.copy(), s=size, t=size.copy()), tolerance=0)
    assert sorted(tensor.name for tensor in model.graph.initializer) == ["k", "s"]
    assert "Constant" not in ops(model)
    assert changes == 6  # three users moved, three tensors gone


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.zeros(4, np.float32), np.array([-0.0, 0, 0, 0], np.float32)),
        (np.zeros(4, np.float32), np.zeros((1, 4), np.float32)),
        (np.ones(4, np.float32), np.arange(4, dtype=np.float32)),
    ],
)
def test_tensors_that_only_look_alike(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> None:
    text = "(float[1,4] x) => (float[1,4] y) { a = Add(x, k)  y = Mul(a, m) }"
    assert fold(build(text, k=first, m=second), tolerance=0)[0] == 0


def test_duplicates_that_are_outputs_or_inputs_stay() -> None:
    text = "(float[4] x, float[4] k) => (float[4] y, float[4] m) { a = Add(x, k)  b = Mul(a, m)  y = Add(b, n) }"
    same = floats(4)
    model = Model.load(build(text, k=same, m=same, n=same))
    Fold()(model, None)
    model.check()
    assert [tensor.name for tensor in model.proto.graph.initializer] == ["k", "m"]


def test_dead_initializers_of_branches() -> None:
    proto = build("""(bool[1] c, float[4] x) => (float[4] y) {
        y = If(c) <
            then_branch = t () => (float[4] o) <float[2] dead = {1, 2}> { w = Relu(x)  o = Neg(x) },
            else_branch = e () => (float[4] o) { o = Identity(x) }
        >
    }""")
    assert fold(proto, tolerance=0)[0] == 2
