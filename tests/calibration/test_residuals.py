"""Residuals: what a changed model has lost at each weight, as a second run of both models tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from onnxsqueeze.calibration.residuals import residuals
from onnxsqueeze.model import Model

Array = np.ndarray[Any, Any]


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chain() -> onnx.ModelProto:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n,6] x) => (float[n,4] y)'
        "{ h = MatMul(x, a)  r = Relu(h)  y = MatMul(r, b) }"
    )
    tensors = {"a": gaussian(6, 8), "b": gaussian(8, 4, seed=1)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def hidden(model: onnx.ModelProto, feed: dict[str, Array]) -> Array:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.add(name="r")
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["r"], feed)[0])


@pytest.mark.parametrize("jobs", [1, 2])
def test_products_are_those_of_lost_outputs_and_changed_inputs(jobs: int) -> None:
    original, changed = Model.load(chain()), Model.load(chain())
    weights = {w.name: w.values().copy() for w in changed.weights(1)}
    feeds = [{"x": gaussian(10, 6, seed=i)} for i in range(4)]
    found = {}
    for stage in residuals(changed, original, weights, feeds, jobs):
        for residual in stage:
            found[residual.name] = residual
            if residual.name == "a":
                weight = next(w for w in changed.weights(1) if w.name == "a")
                weight.assign(weight.values() + gaussian(6, 8, seed=7) / 10)
    assert list(found) == ["a", "b"]
    assert not found["a"].products.any(), "nothing before the first layer has changed"
    first, now = (np.concatenate([hidden(m.proto, feed) for feed in feeds]) for m in (original, changed))
    expected = ((first - now) @ weights["b"]).T @ now / len(now)
    np.testing.assert_allclose(found["b"].products[0], expected, atol=1e-5)
    np.testing.assert_allclose(found["b"].original_means[0], first.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["b"].moments.means[0], now.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["b"].moments.matrices[0, 0], now.T @ now / len(now), rtol=1e-4)
