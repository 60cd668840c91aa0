"""Verification: what passes, what is refused, and the inputs that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import onnxsqueeze
from onnxsqueeze.errors import FormatError, ModelError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.verify import CannotRun, compare, verify, verify_files
from onnxsqueeze.verify.tensors import check_file, decode_all, digests

Array = np.ndarray[Any, Any]


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def build(text: str, opsets: str = '"" : 17', **tensors: Array) -> onnx.ModelProto:
    model = parser.parse_model(f"<ir_version: 8, opset_import: [{opsets}]> g {text}")
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def saved(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def linear(weight: Array, text: str = "(float[n,64] x) => (float[n,48] y) { y = MatMul(x, w) }") -> onnx.ModelProto:
    return build(text, w=weight)


# --- how close outputs are


def test_equal_outputs_are_exact() -> None:
    a = floats(2, 5)
    found = compare("y", [a], [a.copy()])
    assert (found.exact, found.finite, found.relative_error, found.top1) == (True, True, 0.0, 1.0)
    assert found.cosine == pytest.approx(1)


def test_distance_is_relative_to_the_original() -> None:
    a = floats(4, 50)
    found = compare("y", [a[:2], a[2:]], [a[:2] * 1.1, a[2:] * np.float32(1.1)])
    assert found.relative_error == pytest.approx(0.1, rel=1e-5)
    assert found.cosine == pytest.approx(1) and found.top1 == 1 and not found.exact


def test_top_1_counts_rows() -> None:
    a, b = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)
    b[0] = [0, 1, 0, 0]
    assert compare("y", [a], [b]).top1 == 0.75
    assert compare("y", [a[0]], [b[0]]).top1 is None, "a vector is no batch of scores"
    assert compare("y", [a.astype(np.int64)], [b.astype(np.int64)]).top1 is None


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_was_finite_must_stay_so(odd: float) -> None:
    a, b = floats(2, 5), floats(2, 5)
    b[1, 1] = odd
    assert not compare("y", [a], [b]).finite
    a[1, 1] = odd
    found = compare("y", [a], [b])
    assert found.finite and np.isfinite(found.relative_error)


def test_odd_shapes() -> None:
    assert compare("y", [floats(2, 5)], [floats(5, 2)]).relative_error == float("inf")
    for nothing in (np.zeros((0, 5)), np.full((2, 5), np.nan)):
        found = compare("y", [nothing], [nothing])
        assert np.isnan(found.relative_error) and np.isnan(found.cosine) and found.top1 is None and found.finite
    assert compare("y", [np.zeros((1, 5))], [np.zeros((1, 5))]).relative_error == 0
    assert compare("y", [np.zeros((1, 5))], [np.ones((1, 5))]).relative_error == 1


# --- two files


def test_two_files_that_agree(tmp_path: Path) -> None:
    weight = floats(64, 48)
    a = saved(tmp_path / "a.onnx", linear(weight))
    b = saved(tmp_path / "b.onnx", linear(weight * np.float32(1.01)))
    found = verify(a, b, None)
    assert found.samples == 4 and found.inputs == "made from the signature"
    assert found.worst is not None and found.worst.relative_error == pytest.approx(0.01, rel=1e-3)
    assert verify(a, b, None, frugal=True).samples == 1
    assert verify_files(a, b, None, seed=3).outputs[0].relative_error == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "(float[n,64] z) => (float[n,48] y) { y = MatMul(z, w) }",
        "(float[n,64] x) => (float[n,48] z) { z = MatMul(x, w) }",
        "(float[n,64] x) => (double[n,48] y) { h = MatMul(x, w)  y = Cast <to = 11> (h) }",
        "(float[n,64] x, float[1] more) => (float[n,48] y) { h = MatMul(x, w)  y = Mul(h, more) }",
    ],
)
def test_other_signatures_are_refused(tmp_path: Path, text: str) -> None:
    a = saved(tmp_path / "a.onnx", linear(floats(64, 48)))
    with pytest.raises(ModelError, match="differ in the names or types"):
        verify(a, saved(tmp_path / "b.onnx", linear(floats(64, 48), text)), None)


def test_a_file_that_does_not_open_or_run_is_named(tmp_path: Path) -> None:
    good = saved(tmp_path / "a.onnx", linear(floats(64, 48)))
    unknown = "(float[n,64] x) => (float[n,48] y) { h = MatMul(x, w)  y = acme.Magic(h) }"
    magic = saved(tmp_path / "magic.onnx", build(unknown, '"" : 17, "acme" : 1', w=floats(64, 48)))
    with pytest.raises(CannotRun, match=r"onnxruntime does not open the original model 'magic.onnx': .*Magic"):
        verify(magic, good, None)
    with pytest.raises(ModelError, match="does not open the compressed model") as refusal:
        verify(good, magic, None)
    assert not isinstance(refusal.value, CannotRun)
    stuck = "(float[n,64] x) => (float[n,48] y) { h = MatMul(x, w)  s = Constant <value = int64[2] {7, 11}> ()"
    stuck += "  y = Reshape(h, s) }"
    with pytest.raises(ModelError, match="does not run the compressed model"):
        verify(good, saved(tmp_path / "stuck.onnx", linear(floats(64, 48), stuck)), None)


# --- inputs

SIGNATURES = {
    "fixed": ("(float[2,64] x) => (float[a,b] y) { y = MatMul(x, w) }", {"w": floats(64, 8)}),
    "batch": ("(float[n,64] x) => (float[a,b] y) { y = MatMul(x, w) }", {"w": floats(64, 8)}),
    "tokens": ("(int64[n,t] x) => (float[a,b,c] y) { y = Gather(w, x) }", {"w": floats(7, 8)}),
    "cast-tokens": (
        "(int32[n,t] x) => (float[a,b,c] y) { i = Cast <to = 7> (x)  y = Gather(w, i) }",
        {"w": floats(3, 8)},
    ),
    "image": (
        "(float[n,3,h,v] x) => (float[a,b,c,d] y) { y = Conv <strides=[4,4]> (x, w) }",
        {"w": floats(8, 3, 31, 31)},
    ),
    "half": ("(float16[n,64] x) => (float16[a,b] y) { y = MatMul(x, w) }", {"w": floats(64, 8).astype(np.float16)}),
    "double": ("(double[n,64] x) => (double[a,b] y) { y = MatMul(x, w) }", {"w": floats(64, 8).astype(np.float64)}),
    "flag": ("(float[1] x, bool f) => (float[1] y) { y = Where(f, x, x) }", {}),
    "two": ("(float[n,8] x, float[n,8] z) => (float[a,b] y) { y = Add(x, z) }", {}),
    "scalar": ("(float[1,8] x, int64 k) => (float[a,b] y) { c = Cast <to = 1> (k)  y = Div(x, c) }", {}),
    "reshaped": (
        "(float[n] x) => (float[a,b] y) { s = Constant <value = int64[2] {-1, 96}> ()  r = Reshape(x, s)"
        "  y = MatMul(r, w) }",
        {"w": floats(96, 8)},
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_inputs_are_made_for_all_sorts_of_signatures(tmp_path: Path, name: str) -> None:
    text, tensors = SIGNATURES[name]
    path = saved(tmp_path / "m.onnx", build(text, **tensors))
    assert all(output.exact for output in verify(path, path, None).outputs)
    assert verify(path, path, None, seed=1) == verify(path, path, None, seed=1)


def test_inputs_that_cannot_be_made_are_asked_for(tmp_path: Path) -> None:
    words = helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])
    output = helper.make_tensor_value_info("y", TensorProto.STRING, ["n"])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [words], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = saved(tmp_path / "m.onnx", model)
    with pytest.raises(ModelError, match=r"input 'x' is of type tensor\(string\).* --inputs"):
        verify(path, path, None)
    assert verify(path, path, [{"x": np.array(["a"], object)}]).samples == 1


# --- without running


def test_what_lies_in_the_file_is_compared(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "in.onnx", linear(floats(64, 480), "(float[n,64] x) => (float[n,480] y) { y = MatMul(x, w) }")
    )
    onnxsqueeze.compress(path, tmp_path / "out.onnx", "share{bits=4},huffman")
    found = decode_all(tmp_path / "out.onnx")
    assert list(found) == ["w"] and decode_all(path) == {}
    onnxsqueeze_dense = Model.load(path)
    assert check_file(tmp_path / "out.onnx", found) == 1
    with pytest.raises(FormatError, match="weight 'w' does not come back"):
        check_file(tmp_path / "out.onnx", digests(onnxsqueeze_dense))


# --- models that must not be shipped


def test_outputs_that_overflow_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflow:
        def __call__(self, model: Model, context: object) -> int:
            for weight in model.weights():
                weight.assign(np.full(weight.shape, 3e38, np.float32))
            return 1

    monkeypatch.setitem(PASSES, "share", Overflow)
    monkeypatch.setattr("onnxsqueeze.pipeline.text.dataclasses.fields", lambda kind: ())
    path = saved(tmp_path / "in.onnx", linear(np.abs(floats(64, 48))))
    with pytest.raises(ModelError, match=r"output 'y' turns to NaN or infinity.*nothing was written"):
        onnxsqueeze.compress(path, tmp_path / "out.onnx", "share")
    assert [p.name for p in tmp_path.iterdir()] == ["in.onnx"]


def test_changed_signatures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rename:
        def __call__(self, model: Model, context: object) -> int:
            model.proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "other"
            return 1

    monkeypatch.setitem(PASSES, "share", Rename)
    monkeypatch.setattr("onnxsqueeze.pipeline.text.dataclasses.fields", lambda kind: ())
    path = saved(tmp_path / "in.onnx", linear(floats(64, 48)))
    with pytest.raises(ModelError, match="would change its inputs or outputs"):
        onnxsqueeze.compress(path, tmp_path / "out.onnx", "share")
