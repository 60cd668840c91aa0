"""Factored layers compute what their weights said, in every form in which layers stand in models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_graphs import build

from onnxsqueeze.errors import PipelineError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.verify.tensors import signature_of

Array = np.ndarray[Any, Any]
PADDINGS: tuple[dict[str, Any], ...] = (
    {},
    {"pads": [2, 1, 0, 3]},
    {"auto_pad": "SAME_UPPER"},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID"},
)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def applied(text: str, model: onnx.ModelProto) -> tuple[int, onnx.ModelProto]:
    """Changes, and the model behind the pass, checked."""
    changed = Model.load(model)
    (step,) = parse(text, PASSES)
    count = step(changed, Context(jobs=2))
    onnx.checker.check_model(changed.proto, full_check=True)
    assert signature_of(changed.proto) == signature_of(model)
    return count, changed.proto


def outputs(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    if any(value.dtype == np.float64 for value in feed.values()):  # onnxruntime has no such convolution
        return list(ReferenceEvaluator(model).run(None, feed))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def assert_same(one: onnx.ModelProto, other: onnx.ModelProto, feed: dict[str, Array], tolerance: float) -> None:
    for ours, theirs in zip(outputs(one, feed), outputs(other, feed), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def parameters(model: onnx.ModelProto) -> int:
    return sum(int(np.prod(t.dims)) for t in model.graph.initializer)


def convolution(weight: Array, kind: Any = np.float32, sizes: Any = ("n", "c", "h", "w"), **options: Any) -> Any:
    """One convolution with a bias, of free spatial sizes."""
    onnx_kind = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="layer", **options)
    bias = random(len(weight), seed=1)
    rank = len(weight.shape)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx_kind, ["n", weight.shape[1], *sizes[2:rank]])],
        [helper.make_tensor_value_info("y", onnx_kind, [f"o{i}" for i in range(rank)])],
        [numpy_helper.from_array(a.astype(kind), n) for n, a in (("w", weight), ("b", bias))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def of_rank(name: str, rank: int, outer: int = 40, inner: int = 32, kernel: tuple[int, int] = (3, 3)) -> Array:
    """A weight that the named scheme expresses exactly."""
    k1, k2 = kernel
    letters, left, right = {
        "output": ("or,rihw->oihw", (outer, rank), (rank, inner, k1, k2)),
        "input": ("ohwr,ri->oihw", (outer, k1, k2, rank), (rank, inner)),
        "rows": ("owr,rih->oihw", (outer, k2, rank), (rank, inner, k1)),
        "columns": ("ohr,riw->oihw", (outer, k1, rank), (rank, inner, k2)),
    }[name]
    return np.einsum(letters, random(*left), random(*right, seed=1)) / 8


@settings(max_examples=40, deadline=None)
@given(
    scheme=st.sampled_from(["output", "input", "rows", "columns"]),
    kernel=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.sampled_from(PADDINGS),
    size=st.tuples(st.integers(11, 17), st.integers(11, 17)),
    text=st.sampled_from(["lowrank", "lowrank{rank=3}", "lowrank{energy=0.999999}"]),
)
def test_convolutions(
    scheme: str, kernel: Any, strides: Any, dilations: Any, padding: Any, size: Any, text: str
) -> None:
    if "auto_pad" in padding:
        dilations = (1, 1)  # together with automatic padding runtimes differ
    weight = of_rank(scheme, 3, kernel=kernel)
    model = convolution(weight, strides=list(strides), dilations=list(dilations), **padding)
    count, small = applied(text, model)
    assert count == 1 and len(small.graph.node) == 2 and parameters(small) < parameters(model)
    feed = {"x": random(2, 32, *size).astype(np.float32)}
    assert_same(small, model, feed, 1e-3 if "energy" in text else 2e-5)


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float16, 1e-2), (np.float64, 1e-7)])
@pytest.mark.parametrize("scheme", ["output", "input", "rows", "columns"])
def test_other_types(kind: Any, tolerance: float, scheme: str) -> None:
    model = convolution(of_rank(scheme, 2), kind, pads=[1] * 4)
    count, small = applied("lowrank{rank=2}", model)
    assert count == 1
    assert {t.data_type for t in small.graph.initializer} == {helper.np_dtype_to_tensor_dtype(np.dtype(kind))}
    assert_same(small, model, {"x": random(1, 32, 9, 9).astype(kind)}, tolerance)


@pytest.mark.parametrize("shape", [(40, 32, 5), (40, 32, 3, 3, 3)])
def test_one_and_three_dimensions(shape: tuple[int, ...]) -> None:
    weight = np.einsum("or,r...->o...", random(40, 3), random(3, *shape[1:]))
    model = convolution(weight, strides=[2] * (len(shape) - 2), sizes=("n", "c", "h", "w", "d"))
    count, small = applied("lowrank", model)
    assert count == 1
    assert_same(small, model, {"x": random(1, 32, *[9] * (len(shape) - 2)).astype(np.float32)}, 2e-5)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("y = MatMul(x, w)", (64, 48)),
        ("y = Gemm <transA = 1, alpha = 0.5, beta = 2.0> (t, w, b)", (64, 48)),
        ("y = Gemm <transB = 1> (x, w, b)", (48, 64)),
        ("y = MatMul(w, t)", (48, 64)),
    ],
)
def test_products(text: str, shape: tuple[int, int]) -> None:
    weight = (random(shape[0], 2) @ random(2, shape[1])).astype(np.float32)
    model = build(
        f"(float[5,64] x) => (float[m,n] y) {{ t = Transpose(x)  {text} }}",
        w=weight,
        b=random(48).astype(np.float32),
    )
    count, small = applied("lowrank", model)
    assert count == 1 and parameters(small) < parameters(model)
    assert_same(small, model, {"x": random(5, 64).astype(np.float32)}, 2e-5)


def test_one_weight_of_several_nodes() -> None:
    weight = (random(64, 2) @ random(2, 64)).astype(np.float32)
    model = build("(float[5,64] x) => (float[m,n] y) { i = Identity(w)  h = MatMul(x, w)  y = MatMul(h, i) }", w=weight)
    count, small = applied("lowrank", model)
    assert count == 1 and len(small.graph.initializer) == 2
    assert [node.op_type for node in small.graph.node] == ["MatMul"] * 4
    assert_same(small, model, {"x": random(5, 64).astype(np.float32)}, 2e-5)


def test_weights_inside_branches() -> None:
    from small_graphs import in_branches

    model = in_branches()
    for attribute in model.graph.node[0].attribute:
        low = (random(64, 2) @ random(2, 48)).astype(np.float32)
        attribute.g.initializer[0].CopyFrom(numpy_helper.from_array(low, attribute.g.initializer[0].name))
    count, small = applied("lowrank", model)
    assert count == 2
    for which in (True, False):
        feed = {"x": random(2, 64).astype(np.float32), "which": np.array(which)}
        assert_same(small, model, feed, 2e-5)


@pytest.mark.parametrize("text", ["lowrank{rank=1}", "lowrank{ratio=0.9}", "lowrank{energy=0.1}", "depthwise{pairs=1}"])
def test_what_cannot_be_factored_stays(text: str) -> None:
    for uses in ("y = MatMul(w, x)  z = Relu(w)", "y = MatMul(x, w)  z = Transpose(w)"):
        model = build(f"(float[64,64] x) => (float[m,n] y, float[a,b] z) {{ {uses} }}", w=random(64, 64).astype("f"))
        count, same = applied(text, model)
        assert count == 0 and same == Model.load(model).proto
    for special in (np.nan, np.inf):
        weight = random(64, 64).astype(np.float32)
        weight[3, 4] = special
        model = build("(float[5,64] x) => (float[m,n] y) { y = MatMul(x, w) }", w=weight)
        assert applied(text, model)[0] == 0
    grouped = convolution(random(32, 8, 3, 3), group=4)
    grouped.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32
    assert applied(text, grouped)[0] == 0


def test_ratio_is_the_share_of_parameters_that_goes() -> None:
    weight = random(256, 256).astype(np.float32)
    model = build("(float[5,256] x) => (float[m,n] y) { y = MatMul(x, w) }", w=weight)
    for ratio in (0.25, 0.5, 0.9):
        _, small = applied(f"lowrank{{ratio={ratio}}}", model)
        assert 1 - parameters(small) / parameters(model) == pytest.approx(ratio, abs=0.01)
        first, second = (numpy_helper.to_array(t) for t in small.graph.initializer)
        level = np.linalg.norm(weight, axis=0)  # each output channel counts the same
        squares = np.square(np.linalg.svd(weight / level, compute_uv=False))
        best = squares[first.shape[1] :].sum()
        assert np.square((first @ second - weight) / level).sum() == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(("size", "most"), [(5, 19), (9, 42)])
def test_a_rank_that_saves_no_macs_stays(size: int, most: int) -> None:
    """Without padding the first stage makes all columns: for one position R·24·(25 + 5) products against 24·24·25."""
    model = convolution(random(24, 24, 5, 5), sizes=("n", "c", size, size))
    assert applied(f"lowrank{{rank={most} scheme=spatial}}", model)[0] == 1
    assert applied(f"lowrank{{rank={most + 1} scheme=spatial}}", model)[0] == 0


def test_options_are_checked() -> None:
    for text in ("lowrank{rank=0}", "lowrank{ratio=2}", "lowrank{rank=1 energy=0.5}", "lowrank{scheme=tucker}"):
        with pytest.raises(PipelineError, match="lowrank"):
            parse(text, PASSES)


def decoupled(pairs: int, depthwise_first: bool) -> Array:
    """A weight that is a sum of so many pairs."""
    if depthwise_first:
        return np.einsum("pihw,opi->oihw", random(pairs, 32, 3, 3), random(40, pairs, 32))
    return np.einsum("pohw,opi->oihw", random(pairs, 40, 3, 3), random(40, pairs, 32))


@pytest.mark.parametrize("options", [{}, {"strides": [2, 1]}, {"pads": [1, 2, 0, 1], "dilations": [2, 1]}])
@pytest.mark.parametrize("depthwise_first", [True, False])
@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_decoupling(pairs: int, depthwise_first: bool, options: dict[str, Any]) -> None:
    model = convolution(decoupled(pairs, depthwise_first), **options)
    count, small = applied("depthwise{error=0.0001}", model)
    first, second = small.graph.node
    groups = [next(a.i for a in node.attribute if a.name == "group") for node in (first, second)]
    assert count == 1 and groups == ([32, 1] if depthwise_first else [1, 40])
    assert parameters(small) < parameters(model)
    assert_same(small, model, {"x": random(2, 32, 12, 11).astype(np.float32)}, 2e-5)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_decoupling_other_types(kind: Any) -> None:
    model = convolution(decoupled(2, True) / 8, kind)
    count, small = applied("depthwise", model)
    assert count == 1
    assert_same(small, model, {"x": random(1, 32, 9, 9).astype(kind)}, 1e-2 if kind == np.float16 else 1e-7)


def test_decoupling_holds_its_bound() -> None:
    weight = decoupled(2, True) + 0.05 * random(40, 32, 3, 3)
    model = convolution(weight)
    assert applied("depthwise{error=0.001}", model)[0] == 0
    for error in (0.05, 0.3, 0.6):
        count, small = applied(f"depthwise{{error={error}}}", model)
        assert count == 1
        first, second = (numpy_helper.to_array(t) for t in small.graph.initializer if len(t.dims) == 4)
        made = np.einsum("ipk,oip->oik", first.reshape(32, -1, 9), second.reshape(40, 32, -1)).reshape(weight.shape)
        lost = np.square(made - weight).sum(axis=(1, 2, 3)) / np.square(weight).sum(axis=(1, 2, 3))
        assert np.sqrt(lost.mean()) <= error
