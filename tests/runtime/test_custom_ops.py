"""Custom operators: what becomes one, that its results are right, and that nothing malformed gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from sparse_models import Array, build, packed, sparse
from test_provider import BOUND, batches, options

from onnxsqueeze.model import Model
from onnxsqueeze.pipeline.operators import KERNELS, to_operators
from onnxsqueeze.pipeline.provided import provided
from onnxsqueeze.pipeline.unpack import unpack, unpack_file
from onnxsqueeze.runtime import load, native, provider

MATMUL = "(float[n,150] x) => (float[n,100] y) {{ h = MatMul(x, w) {} }}"
GEMM = "(float[n,150] x) => (float[n,100] y) {{ y = Gemm <transB={}> (x, w, b) }}"
CONV = "(float[n,16,9,9] x) => (float[n,o,p,q] y) {{ h = Conv <pads=[1,1,1,1], strides=[2,1]> (x, w{}) {} }}"
BOUNDS = {"low": np.array(-0.25, np.float32), "high": np.array(0.5, np.float32)}


def operators(data: bytes, kernel: str = "always") -> onnx.ModelProto:
    """The packed model with its weights in custom operators, or dense."""
    model = Model.load(onnx.ModelProto.FromString(data))
    kernels = provided(model, kernel, "")
    unpack(model, keep=kernels)
    to_operators(model, kernels)
    unpack(model)
    model.check()
    return model.proto


def opened(proto: onnx.ModelProto) -> Any:
    made = options()
    made.register_custom_ops_library(str(native.library_path()))
    return onnxruntime.InferenceSession(proto.SerializeToString(), made, providers=["CPUExecutionProvider"])


def check(proto: onnx.ModelProto, feeds: list[dict[str, Array]], nodes: list[str]) -> onnx.ModelProto:
    """What the operators compute is what the dense model does in stock onnxruntime."""
    dense = onnxruntime.InferenceSession(proto.SerializeToString(), options(), providers=["CPUExecutionProvider"])
    made = operators(packed(proto))
    assert [node.op_type + "*" * (node.domain == KERNELS) for node in made.graph.node] == nodes
    session = opened(made)
    for feed in feeds:
        for found, expected in zip(session.run(None, feed), dense.run(None, feed), strict=True):
            assert found.shape == expected.shape
            assert np.abs(found - expected).max(initial=0) <= BOUND * np.abs(expected).max(initial=1)
    return made


@pytest.mark.parametrize(
    ("after", "nodes"),
    [
        ("y = Identity(h)", ["MatMul*", "Identity"]),
        ("y = Relu(h)", ["MatMul*"]),
        ("m = Add(b, h)  y = Relu(m)", ["MatMul*"]),
        ("m = Add(h, b)  y = ThresholdedRelu <alpha=0.25> (m)", ["MatMul*"]),
        ("m = Add(h, b)  y = Clip(m, low, high)", ["MatMul*"]),
        ("m = Add(h, b)  y = Clip(m, low)", ["MatMul*"]),
        ("m = Add(h, b)  y = Clip(m, high, low)", ["MatMul*"]),
        ("m = Add(h, b)  y = Gelu(m)", ["MatMul*"]),
        ('m = Add(h, b)  y = Gelu <approximate="tanh"> (m)', ["MatMul*", "Gelu"]),
        ("m = Add(h, h)  y = HardSwish(m)", ["MatMul*", "Add", "HardSwish"]),
        ("m = Relu(h)  y = Add(m, h)", ["MatMul*", "Relu", "Add"]),
    ],
)
def test_products_and_what_follows(after: str, nodes: list[str]) -> None:
    used = {name: value for name, value in BOUNDS.items() if name in after}
    used |= {"b": sparse(100, zeros=0)} if "b" in after else {}
    check(build(MATMUL.format(after), 20, w=sparse(150, 100), **used), batches(150, 0, 1, 3, 20, 70), nodes)


def test_a_bias_of_more_dimensions_adds_dimensions() -> None:
    text = "(float[n,150] x) => (float[1,n,100] y) { h = MatMul(x, w)  y = Add(h, b) }"
    check(build(text, 20, w=sparse(150, 100), b=sparse(1, 1, 100, zeros=0)), batches(150, 1, 4), ["MatMul*", "Add"])


@pytest.mark.parametrize("values", [None, 15], ids=["sparse", "shared"])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(values: int | None, transposed: int) -> None:
    weight = sparse(*((100, 150) if transposed else (150, 100)), zeros=0.1 if values else 0.9, values=values)
    check(build(GEMM.format(transposed), w=weight, b=sparse(100, zeros=0)), batches(150, 1, 9), ["Gemm*"])


def test_gemm_with_a_bias_that_is_no_constant_stays() -> None:
    text = "(float[n,150] x, float[100] b) => (float[n,100] y) { y = Gemm(x, w, b) }"
    feeds = [{"x": sparse(3, 150, zeros=0), "b": sparse(100, zeros=0)}]
    check(build(text, w=sparse(150, 100)), feeds, ["Gemm"])


@pytest.mark.parametrize("bias", [False, True])
def test_convolutions(bias: bool) -> None:
    model = build(
        CONV.format(", b" if bias else "", "y = Relu(h)"), w=sparse(24, 16, 3, 3), **({"b": sparse(24)} if bias else {})
    )
    check(model, [{"x": sparse(n, 16, 9, 9, zeros=0)} for n in (0, 1, 2)], ["Conv*"])


def test_embeddings() -> None:
    model = build("(int64[n] x) => (float[n,75] y) { y = Gather(w, x) }", w=sparse(300, 75, zeros=0, values=15))
    check(model, [{"x": np.array(ids, np.int64)} for ids in ([], [3], [0, 299, -1, 3])], ["Gather*"])


def test_results_that_branches_use() -> None:
    text = """(float[n,64] x, bool c) => (float[n,64] y) {
        h = MatMul(x, w)
        y = If(c) <then_branch = t () => (float[n,64] p) { p = Relu(h) },
                   else_branch = e () => (float[n,64] q) { q = Neg(h) }> }"""
    feeds = [{"x": sparse(3, 64, zeros=0), "c": np.array(value)} for value in (True, False)]
    check(build(text, w=sparse(64, 64)), feeds, ["MatMul*", "If"])


def test_load_uses_them_where_there_are_no_plugin_providers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proto = build(MATMUL.format("m = Add(h, b)  y = Relu(m)"), w=sparse(150, 100), b=sparse(100, zeros=0))
    path = tmp_path / "model.onnx"
    path.write_bytes(packed(proto))
    monkeypatch.setattr(provider, "is_available", lambda: False)
    feed = batches(150, 4)[0]
    expected = opened(operators(packed(proto))).run(None, feed)[0]
    for _ in range(2):
        session = load(path, options())
        assert session.get_providers() == ["CPUExecutionProvider"] and "w" not in session.onnxsqueeze_weights
        assert session.run(None, feed)[0].tobytes() == expected.tobytes()
    assert "w" in load(path, options(), ["CPUExecutionProvider"]).onnxsqueeze_weights


def test_a_file_for_programs_without_python(tmp_path: Path) -> None:
    proto = build(MATMUL.format("y = Relu(h)"), w=sparse(150, 100))
    source, target = tmp_path / "small.onnx", tmp_path / "operators.onnx"
    source.write_bytes(packed(proto))
    done = unpack_file(source, target, "auto")
    assert (done.tensors, done.operators) == (0, 1) and "1 in custom operators" in done.sentence()
    check(proto, batches(150, 2), ["MatMul*"])
    assert opened(onnx.load(target)).run(None, batches(150, 2)[0])[0].shape == (2, 100)
    with pytest.raises(Exception, match="kernels"):
        onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])


def changed(node: onnx.NodeProto, **attributes: Any) -> None:
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(n, v) for n, v in attributes.items() if v is not None)])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"kernel": "fastest"}, "no kernel 'fastest'"),
        ({"kernel": "shared"}, "no kernel 'shared'"),
        ({"kernel": None}, "no kernel ''"),
        ({"weight": "Dense_P9"}, "does not fit MatMul"),
        ({"weight": None}, "does not fit MatMul"),
        ({"shape": [150, 99]}, "does not fit MatMul"),
        ({"shape": [15000]}, "does not fit MatMul"),
        ({"entries": [1 << 40]}, "does not fit MatMul"),
        ({"has_bias": 0}, "does not fit MatMul"),
        ({"activation": "Tanh"}, "does not fit MatMul"),
    ],
    ids=str,
)
def test_malformed_operators_are_refused(attributes: dict[str, Any], reason: str) -> None:
    made = operators(packed(build(MATMUL.format("y = Add(h, b)"), w=sparse(150, 100), b=sparse(100, zeros=0))))
    changed(made.graph.node[0], **attributes)
    with pytest.raises(Exception, match=reason):
        opened(made)


def test_weights_that_are_no_constants_are_refused() -> None:
    made = operators(packed(build(MATMUL.format("y = Relu(h)"), w=sparse(150, 100))))
    moved = made.graph.initializer[0]
    made.graph.input.append(helper.make_tensor_value_info(moved.name, moved.data_type, moved.dims))
    with pytest.raises(Exception, match="does not fit MatMul"):
        opened(made)
    del made.graph.node[0].input[1:]
    with pytest.raises(Exception, match="input size"):
        opened(made)
