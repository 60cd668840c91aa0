"""Moments of what flows into weights: equal to what the products' own outputs say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from onnxsqueeze.calibration.collect import Layer, layers
from onnxsqueeze.model import Model

Array = np.ndarray[Any, Any]


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def build(text: str, **tensors: Array) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def run(model: onnx.ModelProto, feed: dict[str, Array]) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def found(model: onnx.ModelProto, feeds: list[dict[str, Array]], jobs: int = 1) -> dict[str, Layer]:
    return {layer.name: layer for stage in layers(Model.load(model), feeds, None, jobs) for layer in stage}


def energy(layer: Layer, values: Array) -> Array:
    """Mean square of each output that a weight makes of inputs with these moments: [groups, outputs]."""
    matrix = layer.reading.matrix(values).astype(np.float64)
    moments = np.broadcast_to(layer.moments.matrices[:, 0], (len(matrix), *layer.moments.matrices.shape[2:]))
    return np.einsum("goi,gij,goj->go", matrix, moments, matrix)


CONVOLUTIONS = {
    "plain": ("<kernel_shape=[3,3]>", (8, 6, 3, 3)),
    "pads": ("<pads=[1,0,2,1]>", (8, 6, 3, 3)),
    "strides": ("<strides=[2,3], pads=[1,1,1,1]>", (8, 6, 3, 3)),
    "dilations": ("<dilations=[2,1], strides=[1,2]>", (8, 6, 3, 3)),
    "same-upper": ('<auto_pad="SAME_UPPER", strides=[2,2]>', (8, 6, 3, 2)),
    "same-lower": ('<auto_pad="SAME_LOWER">', (8, 6, 2, 3)),
    "groups": ("<group=3>", (9, 2, 3, 3)),
    "depthwise": ("<group=6, pads=[1,1,1,1]>", (12, 1, 3, 3)),
    "pointwise": ("", (5, 6, 1, 1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    attributes, shape = CONVOLUTIONS[name]
    weight = gaussian(*shape)
    model = build(f"(float[n,6,9,10] x) => (float[a,b,c,d] y) {{ y = Conv {attributes} (x, w) }}", w=weight)
    feeds = [{"x": gaussian(1, 6, 9, 10, seed=i)} for i in range(3)]
    outputs = np.concatenate([run(model, feed) for feed in feeds])
    layer = found(model, feeds)["w"]
    expected = np.square(outputs).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(energy(layer, weight).reshape(-1), expected, rtol=1e-4)
    means = layer.reading.matrix(weight) @ layer.moments.means[:, :, None]
    np.testing.assert_allclose(means.reshape(-1), outputs.mean(axis=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert np.array_equal(layer.reading.restore(layer.reading.matrix(weight)), weight)


PRODUCTS = {
    "matmul": ("y = MatMul(x, w)", (7, 5)),
    "gemm": ("y = Gemm(x, w)", (7, 5)),
    "gemm-transposed": ("y = Gemm <transB=1> (x, w)", (5, 7)),
    "behind a transpose": ("v = Transpose <perm=[1,0]> (w)  y = MatMul(x, v)", (5, 7)),
    "left": ("t = Transpose <perm=[1,0]> (x)  z = MatMul(w, t)  y = Transpose <perm=[1,0]> (z)", (5, 7)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    nodes, shape = PRODUCTS[name]
    weight = gaussian(*shape)
    model = build(f"(float[n,7] x) => (float[a,b] y) {{ {nodes} }}", w=weight)
    feeds = [{"x": gaussian(20, 7, seed=i)} for i in range(2)]
    outputs = np.concatenate([run(model, feed) for feed in feeds])
    layer = found(model, feeds, jobs=2)["w"]
    np.testing.assert_allclose(energy(layer, weight).reshape(-1), np.square(outputs).mean(axis=0), rtol=1e-4)
    assert layer.moments.rows == 40
    assert np.array_equal(layer.reading.restore(layer.reading.matrix(weight)), weight)


def test_tables_are_counted() -> None:
    model = build("(int64[n] x) => (float[a,b] y) { y = Gather(w, x) }", w=gaussian(6, 16))
    layer = found(model, [{"x": np.array([0, 5, -1], np.int64)}, {"x": np.array([0], np.int64)}])["w"]
    assert layer.moments.frequencies.tolist() == [0.5, 0, 0, 0, 0, 0.5]


def test_recurrent_weights_see_inputs_and_states() -> None:
    tensors = {"w": gaussian(2, 32, 5), "r": gaussian(2, 32, 8)}
    nodes = 'y, h = LSTM <hidden_size=8, direction="bidirectional"> (x, w, r)'
    model = build(f"(float[s,1,5] x) => (float[a,b,c,d] y) {{ {nodes} }}", **tensors)
    feed = {"x": gaussian(9, 1, 5)}
    layer, states = found(model, [feed])["r"], run(model, feed)[:, :, 0]
    for direction in range(2):
        expected = states[:, direction].T @ states[:, direction] / 9
        np.testing.assert_allclose(layer.moments.matrices[direction, 0], expected, atol=1e-5)


def chain() -> onnx.ModelProto:
    """Two branches that read one value, one of them deep, and a fixed value that is used late."""
    nodes = """
        c = Identity(bias)  a = MatMul(x, w1)  b = Add(a, c)  r = Relu(b)
        p = MatMul(r, w2)  q = MatMul(r, w3)  s = Sigmoid(p)  m = Mul(s, q)  n = Add(m, x)
        y = MatMul(n, w4)  z = Add(y, c)
    """
    tensors = {f"w{i}": gaussian(8, 8, seed=i) for i in range(1, 5)}
    return build(f"(float[n,8] x) => (float[a,b] z) {{ {nodes} }}", bias=gaussian(8), **tensors)


def test_weights_that_read_one_value_are_measured_together() -> None:
    feeds = [{"x": gaussian(4, 8, seed=i)} for i in range(5)]
    names = [[layer.name for layer in stage] for stage in layers(Model.load(chain()), feeds)]
    assert names == [["w1"], ["w2", "w3"], ["w4"]]
    layer = found(chain(), feeds)
    assert layer["w2"].moments is layer["w3"].moments


def test_later_layers_are_measured_on_what_changed_ones_give() -> None:
    feeds = [{"x": gaussian(4, 8, seed=i)} for i in range(5)]
    model = Model.load(chain())
    seen = {}
    for stage in layers(model, feeds):
        for layer in stage:
            seen[layer.name] = layer.moments
            weight = next(w for w in model.weights() if w.name == layer.name)
            weight.assign(np.where(weight.values() > 0, weight.values(), np.float32(0)))
    for name, layer in found(model.proto, feeds).items():
        np.testing.assert_allclose(seen[name].matrices, layer.moments.matrices, rtol=1e-5)
    assert not np.allclose(seen["w4"].matrices, found(chain(), feeds)["w4"].moments.matrices, rtol=1e-2)


def test_workers_do_not_change_a_bit() -> None:
    feeds = [{"x": gaussian(4, 8, seed=i)} for i in range(5)]
    one, three = found(chain(), feeds, 1), found(chain(), feeds, 3)
    assert all(one[name].moments.matrices.tobytes() == three[name].moments.matrices.tobytes() for name in one)


def test_weights_inside_branches() -> None:
    def branch(name: str, seed: int) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(f"{name}_y", onnx.TensorProto.FLOAT, [2, 8])
        weights = [numpy_helper.from_array(gaussian(8, 8, seed=seed + i), f"{name}_{i}") for i in range(2)]
        nodes = [
            helper.make_node("MatMul", ["h", f"{name}_0"], [f"{name}_h"]),
            helper.make_node("MatMul", [f"{name}_h", f"{name}_1"], [f"{name}_y"]),
        ]
        return helper.make_graph(nodes, name, [], [output], weights)

    model = build("(float[2,8] x, bool which) => (float[2,8] y) { h = MatMul(x, w)  y = Relu(h) }", w=gaussian(8, 8))
    choice = helper.make_node("If", ["which"], ["y"], then_branch=branch("t", 1), else_branch=branch("e", 5))
    model.graph.node[1].CopyFrom(choice)
    feeds = [{"x": gaussian(2, 8, seed=i), "which": np.array(True)} for i in range(3)]
    seen = found(model, feeds)
    assert sorted(name.rpartition("/")[2] for name in seen) == ["e_0", "t_0", "t_1", "w"], "e_0 reads from outside"
    hidden = np.concatenate([feed["x"] @ gaussian(8, 8) for feed in feeds])
    (inner,) = (layer for name, layer in seen.items() if name.endswith("t_0"))
    np.testing.assert_allclose(inner.moments.matrices[0, 0], hidden.T @ hidden / 6, rtol=1e-4)
