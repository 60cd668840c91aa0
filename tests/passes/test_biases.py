"""Biases: found where one node alone uses them, and shifted so that outputs move by just as much."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from small_graphs import build, gaussian

from onnxsqueeze.calibration.matrices import readings
from onnxsqueeze.model import Model
from onnxsqueeze.passes.biases import Biases

Array = np.ndarray[Any, Any]


def run(model: Model, feed: dict[str, Array]) -> Array:
    session = onnxruntime.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def convolution(groups: int) -> onnx.ModelProto:
    return build(
        f"(float[1,8,6,6] x) => (float[1,12,4,4] y) {{ y = Conv <group={groups}> (x, w, b) }}",
        w=gaussian(12, 8 // groups, 3, 3),
        b=gaussian(12),
    )


MODELS = {
    "conv": (convolution(1), (1, 8, 6, 6), (1, 12, 1, 1)),
    "groups": (convolution(4), (1, 8, 6, 6), (1, 12, 1, 1)),
    "gemm": (
        build(
            "(float[3,8] x) => (float[3,5] y) { y = Gemm <alpha=2.0, beta=0.5, transB=1> (x, w, b) }",
            w=gaussian(5, 8),
            b=gaussian(5),
        ),
        (3, 8),
        (1, 5),
    ),
    "matmul": (
        build("(float[3,8] x) => (float[3,5] y) { h = MatMul(x, w) y = Add(b, h) }", w=gaussian(8, 5), b=gaussian(5)),
        (3, 8),
        (1, 5),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_move_by_what_is_added(name: str) -> None:
    proto, shape, outputs = MODELS[name]
    model = Model.load(proto)
    found = readings(model, {"w"})
    biases = Biases(model, found)
    assert "w" in biases
    groups = found["w"][0].matrix(np.zeros(found["w"][0].shape)).shape[0]
    feed, amount = {"x": gaussian(*shape)}, gaussian(int(np.prod(outputs))) * 3
    before = run(model, feed)
    factor = 2.0 if name == "gemm" else 1.0  # the node scales what the weight makes
    biases.shift({"w": amount.reshape(groups, -1)})
    biases.shift({"w": amount.reshape(groups, -1)})
    np.testing.assert_allclose(run(model, feed), before + factor * amount.reshape(outputs), rtol=1e-4, atol=1e-4)
    biases.shift(dict.fromkeys(biases.shifts()))
    assert np.array_equal(run(model, feed), before)


def test_input_and_state_of_an_lstm_share_a_bias() -> None:
    model = Model.load(
        build(
            "(float[4,1,6] x) => (float[4,1,1,5] y) { y = LSTM <hidden_size=5> (x, w, r, b) }",
            w=gaussian(1, 20, 6),
            r=gaussian(1, 20, 5),
            b=gaussian(1, 40),
        )
    )
    biases = Biases(model, readings(model, {"w", "r"}))
    ours, state = gaussian(1, 20, seed=1), gaussian(1, 20, seed=2)
    biases.shift({"w": ours})
    biases.shift({"r": state})
    tensor = next(t for t in model.proto.graph.initializer if t.name == "b")
    np.testing.assert_allclose(model.read(tensor), gaussian(1, 40) + np.concatenate([ours, state], axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "(float[3,8] x) => (float[3,8] y) { h = MatMul(x, w) k = MatMul(h, w) y = Add(k, b) }",
        "(float[3,8] x) => (float[3,8] y) { h = MatMul(x, w) k = Add(h, b) y = Mul(k, b) }",
        "(float[3,8] x) => (float[3,8] y) { h = MatMul(x, w) k = Add(h, b) y = Mul(k, h) }",
        "(float[3,8] x) => (float[3,8] y) { y = MatMul(x, w) }",
    ],
    ids=["weight-used-twice", "bias-used-twice", "product-used-twice", "none"],
)
def test_what_others_use_stays(text: str) -> None:
    model = Model.load(build(text, w=gaussian(8, 8), b=gaussian(8)))
    assert "w" not in Biases(model, readings(model, {"w"}))
