"""Cross-layer equalization: outputs keep their bits, channels come to like size, and other paths stay untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from small_graphs import build, gaussian

from onnxsqueeze.model import Model
from onnxsqueeze.passes.equalize import Equalize
from onnxsqueeze.pipeline import Context

Array = np.ndarray[Any, Any]


def uneven(*shape: int, axis: int, seed: int = 0) -> Array:
    """Weights whose channels differ in size by up to 4,000."""
    sizes = 2.0 ** np.random.default_rng(seed).uniform(-6, 6, shape[axis])
    form = [-1 if i == axis else 1 for i in range(len(shape))]
    return (gaussian(*shape, seed=seed) * sizes.reshape(form)).astype(np.float32)


def convolutions(between: str, depthwise: bool = False, **more: Array) -> onnx.ModelProto:
    middle = "d = Conv<group=8, kernel_shape=[3,3], pads=[1,1,1,1]>(r, dw, db)  e = Relu(d)" if depthwise else ""
    tensors = {"w": uneven(8, 3, 3, 3, axis=0), "b": gaussian(8), "v": uneven(6, 8, 1, 1, axis=1, seed=1)}
    if depthwise:
        tensors |= {"dw": uneven(8, 1, 3, 3, axis=0, seed=2), "db": gaussian(8, seed=2)}
    return build(
        f"(float[1,3,12,12] x) => (float[1,6,p,q] y) {{ c = Conv<kernel_shape=[3,3]>(x, w, b)  {between}  {middle}"
        f"  y = Conv<kernel_shape=[1,1]>({'e' if depthwise else 'r'}, v) }}",
        **tensors,
        **more,
    )


def dense(between: str) -> onnx.ModelProto:
    return build(
        f"(float[4,32] x) => (float[4,10] y) {{ h = MatMul(x, w)  c = Add(h, b)  {between}  "
        "y = Gemm<transB=1>(r, v) }",
        w=uneven(32, 48, axis=1),
        b=gaussian(48),
        v=uneven(10, 48, axis=1, seed=1),
    )


def run(model: onnx.ModelProto) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    x = np.random.default_rng(3).standard_normal(given.shape).astype(np.float32)
    found: Array = session.run(None, {given.name: x})[0]
    return found


def values(model: Model, name: str) -> Array:
    return np.array(model.read(model.find(name).tensor))


MODELS = {
    "relu": convolutions("r = Relu(c)"),
    "leaky": convolutions("r = LeakyRelu<alpha=0.1>(c)"),
    "prelu": convolutions("r = PRelu(c, s)", s=gaussian(8, 1, 1)),
    "pools": convolutions(
        "p = Relu(c)  m = MaxPool<kernel_shape=[2,2]>(p)  r = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1]>(m)"
    ),
    "depthwise": convolutions("r = Relu(c)", depthwise=True),
    "matmul": dense("r = Relu(c)"),
    "identity": dense("r = Identity(c)"),
    "flatten": build(
        "(float[1,3,6,6] x) => (float[1,10] y) { c = Conv<kernel_shape=[3,3]>(x, w, b)  p = Relu(c)  "
        "r = Flatten(p)  y = MatMul(r, v) }",
        w=uneven(8, 3, 3, 3, axis=0),
        b=gaussian(8),
        v=gaussian(128, 10),
    ),
}

OTHERS = {
    "clip": convolutions("r = Clip(c, lo, hi)", lo=np.float32(0).reshape(()), hi=np.float32(6).reshape(())),
    "sigmoid": convolutions("r = Sigmoid(c)"),
    "residual": convolutions("t = Relu(c)  r = Add(t, c)"),
    "two readers": build(
        "(float[4,32] x) => (float[4,10] y, float[4,48] z) { c = MatMul(x, w)  z = Relu(c)  y = MatMul(z, v) }",
        w=uneven(32, 48, axis=1),
        v=gaussian(48, 10),
    ),
    "one weight twice": build(
        "(float[4,32] x) => (float[4,32] y) { c = MatMul(x, w)  r = Relu(c)  y = MatMul(r, w) }",
        w=uneven(32, 32, axis=1),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_keep_their_bits(name: str) -> None:
    expected = run(MODELS[name])
    model = Model.load(MODELS[name])
    assert Equalize()(model, Context()) >= 2
    model.check()
    assert run(model.proto).tobytes() == expected.tobytes()
    assert Equalize()(model, Context()) == 0, "it has come to rest"


def test_channels_come_to_like_size_in_both_layers() -> None:
    model = Model.load(MODELS["relu"])
    Equalize()(model, Context())
    first = np.abs(values(model, "w")).max(axis=(1, 2, 3))
    second = np.abs(values(model, "v")).max(axis=(0, 2, 3))
    assert (np.abs(np.log2(first / second)) <= 1 + 1e-6).all()


@pytest.mark.parametrize("name", OTHERS)
def test_other_paths_stay_untouched(name: str) -> None:
    model = Model.load(OTHERS[name])
    before = model.proto.SerializeToString()
    assert Equalize()(model, Context()) == 0
    assert model.proto.SerializeToString() == before


def test_channels_of_faint_weights_stay() -> None:
    faint = uneven(8, 3, 3, 3, axis=0)
    faint[2] *= np.float32(2.0**-110)
    faint[3] = 0
    proto = convolutions("r = Relu(c)")
    tensor = next(t for t in proto.graph.initializer if t.name == "w")
    tensor.CopyFrom(onnx.numpy_helper.from_array(faint, "w"))
    expected, model = run(proto), Model.load(proto)
    assert Equalize()(model, Context()) >= 2
    assert values(model, "w")[2].tobytes() == faint[2].tobytes()
    assert run(model.proto).tobytes() == expected.tobytes()
