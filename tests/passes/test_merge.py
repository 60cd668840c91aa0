"""Merging: models that were widened by splitting units come back, and what is merged is what costs least."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian

from onnxsqueeze.groups import analyse
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse

Array = np.ndarray[Any, Any]


def run(text: str, model: onnx.ModelProto) -> tuple[int, Model]:
    view = Model.load(model)
    (step,) = parse(text, PASSES)
    return step(view, Context()), view


def outputs(model: onnx.ModelProto) -> list[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(5)
    return session.run(None, {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in session.get_inputs()})


class Split:
    """Units of which some are there several times: what makes them is repeated, what reads them is shared out."""

    def __init__(self, width: int, more: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        source = np.concatenate([np.arange(width), rng.integers(0, width, more)])
        self.source = rng.permutation(source)
        share = rng.uniform(0.5, 1.5, len(source)).astype(np.float32)
        self.share = share / np.bincount(self.source, share)[self.source].astype(np.float32)
        self.factor = rng.uniform(0.5, 2, len(source)).astype(np.float32)

    def made(self, weight: Array, axis: int = 0, scaled: bool = False) -> Array:
        """What makes the units, biases and normalisation as well."""
        wide = np.take(weight, self.source, axis)
        return self._along(wide, axis, self.factor) if scaled else wide

    def read(self, weight: Array, axis: int, scaled: bool = False) -> Array:
        """What reads them."""
        share = self.share / self.factor if scaled else self.share
        return self._along(np.take(weight, self.source, axis), axis, share)

    def repeated(self, times: int) -> Split:
        """The same for units of several positions, such as heads or channels of a picture."""
        other = Split(1, 0)
        other.source = (self.source[:, None] * times + np.arange(times)).reshape(-1)
        other.share, other.factor = np.repeat(self.share, times), np.repeat(self.factor, times)
        return other

    @staticmethod
    def _along(wide: Array, axis: int, factors: Array) -> Array:
        return np.asarray(wide * np.expand_dims(factors, tuple(i for i in range(wide.ndim) if i != axis)), np.float32)


Build = Callable[[bool], onnx.ModelProto]  # whether to be wide


def mlp(scaled: bool) -> Build:
    def make(wide: bool) -> onnx.ModelProto:
        first, second = Split(24, 9 * wide, 1), Split(16, 7 * wide, 2)
        return build(
            "(float[3,20] x) => (float[m,n] y) { h = Gemm(x, a, p) r = Relu(h) k = Gemm <transB=1> (r, b, q)"
            "  s = LeakyRelu(k) y = MatMul(s, c) }",
            a=first.made(gaussian(20, 24), 1, scaled),
            p=first.made(gaussian(24), 0, scaled),
            b=second.made(first.read(gaussian(16, 24), 1, scaled), 0, scaled),
            q=second.made(gaussian(16), 0, scaled),
            c=second.read(gaussian(16, 10), 0, scaled),
        )

    return make


def norms(split: Split, width: int) -> dict[str, Array]:
    values = {name: gaussian(width, seed=i) for i, name in enumerate(("gamma", "beta", "mean"))}
    values["var"] = np.abs(gaussian(width)) + np.float32(0.5)
    return {name: split.made(value) for name, value in values.items()}


def conv(wide: bool) -> onnx.ModelProto:
    split = Split(16, 5 * wide)
    return build(
        "(float[1,3,8,8] x) => (float[a,b] y) { h = Conv <pads=[1,1,1,1]> (x, w, e)"
        "  n = BatchNormalization(h, gamma, beta, mean, var)  r = Relu(n)"
        "  m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r)  f = Flatten(m)  y = MatMul(f, last) }",
        w=split.made(gaussian(16, 3, 3, 3)),
        e=split.made(gaussian(16)),
        last=split.repeated(16).read(gaussian(16 * 16, 5), 0),
        **norms(split, 16),
    )


def separable(wide: bool) -> onnx.ModelProto:
    """Depthwise kernels go with their channels."""
    split = Split(16, 5 * wide)
    return build(
        "(float[1,3,8,8] x) => (float[a,b,c,d] y) { h = Conv(x, w)  r = Clip(h, zero, six)"
        f"  d = Conv <group={len(split.source)}> (r, deep, e)  s = HardSwish(d)  y = Conv(s, point) }}",
        w=split.made(gaussian(16, 3, 1, 1)),
        zero=np.array(0, np.float32),
        six=np.array(6, np.float32),
        deep=split.made(gaussian(16, 1, 3, 3)),
        e=split.made(gaussian(16)),
        point=split.read(gaussian(8, 16, 1, 1), 1),
    )


def residual(wide: bool) -> onnx.ModelProto:
    """Two layers make the same channels, two read them, and one does both."""
    outer, inner = Split(12, 4 * wide, 1), Split(8, 3 * wide, 2)
    return build(
        "(float[1,3,8,8] x) => (float[a,b,c,d] y) { h = Conv(x, w)  r = Relu(h)  i = Conv <pads=[1,1,1,1]> (r, u, e)"
        "  j = Relu(i)  k = Conv(j, v)  s = Add(r, k)  t = Relu(s)  y = Conv(t, last) }",
        w=outer.made(gaussian(12, 3, 1, 1)),
        u=inner.made(outer.read(gaussian(8, 12, 3, 3), 1)),
        e=inner.made(gaussian(8)),
        v=outer.made(inner.read(gaussian(12, 8, 1, 1), 1)),
        last=outer.read(gaussian(4, 12, 1, 1), 1),
    )


def concat(wide: bool) -> onnx.ModelProto:
    one, other = Split(12, 4 * wide, 1), Split(8, 3 * wide, 2)
    last = gaussian(4, 20, 1, 1)
    return build(
        "(float[1,3,8,8] x) => (float[a,b,c,d] y) { h = Conv(x, w)  r = Relu(h)  i = Conv(x, u)  j = Sigmoid(i)"
        "  k = Concat <axis=1> (r, j)  y = Conv(k, last) }",
        w=one.made(gaussian(12, 3, 1, 1)),
        u=other.made(gaussian(8, 3, 1, 1)),
        last=np.concatenate([one.read(last[:, :12], 1), other.read(last[:, 12:], 1)], axis=1),
    )


def attention(wide: bool) -> onnx.ModelProto:
    """Heads that are there twice, and dimensions of the values."""
    heads = Split(4, 2 * wide, 1)
    count, each = len(heads.source), heads.repeated(6)
    return build(
        f"(float[1,5,24] x) => (float[a,b,c] y) <int64[4] cut = {{1, 5, {count}, 6}}, int64[3] whole = {{1, 5, -1}}>"
        "  { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)  qb = Add(q, bq)"
        "  qs = Reshape(qb, cut)  ks = Reshape(k, cut)  vs = Reshape(v, cut)  qt = Transpose <perm=[0,2,1,3]> (qs)"
        "  kt = Transpose <perm=[0,2,3,1]> (ks)  vt = Transpose <perm=[0,2,1,3]> (vs)  p = MatMul(qt, kt)"
        "  o = Softmax <axis=-1> (p)  z = MatMul(o, vt)  zt = Transpose <perm=[0,2,1,3]> (z)"
        "  zr = Reshape(zt, whole)  y = MatMul(zr, wo) }",
        wq=each.made(gaussian(24, 24, seed=1), 1),
        bq=each.made(gaussian(24, seed=5)),
        wk=each.made(gaussian(24, 24, seed=2), 1),
        wv=each.made(gaussian(24, 24, seed=3), 1),
        wo=each.read(gaussian(24, 24, seed=4), 0),
    )


def lstm(wide: bool) -> onnx.ModelProto:
    """Hidden units read themselves."""
    units = Split(12, 5 * wide)
    gates = [gaussian(12, 10, seed=i) for i in range(4)]
    states = [gaussian(12, 12, seed=i) for i in range(4)]
    biases = [gaussian(12, seed=i) for i in range(8)]
    return build(
        f"(float[5,1,10] x) => (float[a,b,c] y) {{ h = LSTM <hidden_size={len(units.source)}> (x, w, r, b)"
        "  s = Squeeze(h, one)  y = MatMul(s, last) }",
        w=np.concatenate([units.made(gate) for gate in gates])[None],
        r=np.concatenate([units.made(units.read(state, 1)) for state in states])[None],
        b=np.concatenate([units.made(bias) for bias in biases])[None],
        one=np.array([1], np.int64),
        last=units.read(gaussian(12, 6), 0),
    )


WIDENED: dict[str, Build] = {
    "mlp": mlp(False),
    "scaled-mlp": mlp(True),
    "conv-batchnorm": conv,
    "separable": separable,
    "residual": residual,
    "concat": concat,
    "attention": attention,
    "lstm": lstm,
}


def widths(model: onnx.ModelProto) -> list[int]:
    return [group.width for group in analyse(Model.load(model))]


CASES = [
    (name, method)
    for name in WIDENED
    for method in ("auto", "clusters")
    if (name, method) != ("scaled-mlp", "clusters")
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_widened_models_come_back(name: str, method: str) -> None:
    original, wide = WIDENED[name](False), WIDENED[name](True)
    for ours, theirs in zip(outputs(wide), outputs(original), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    changes, merged = run(f"merge{{error=0.0001 method={method}}}", wide)
    onnx.checker.check_model(merged.proto, full_check=True)
    assert sorted(widths(merged.proto)) == sorted(widths(original))
    assert changes == sum(widths(wide)) - sum(widths(original))
    for ours, theirs in zip(outputs(merged.proto), outputs(original), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", ["error=0", "ratio=0.5", "mode=1.0", "ratio=0.5 method=clusters"])
@pytest.mark.parametrize("bias", ["gaussian", "equal"])
def test_groups_of_a_transposed_convolution_are_told_apart(options: str, bias: str) -> None:
    """Equal groups of inputs meet weights of their own: they are not merged."""
    model = build(
        "(float[1,3,6,6] x) => (float[a,b,c,d] y) { h = Conv(x, first)  r = Relu(h)"
        "  t = ConvTranspose <group=4> (r, second, bias)  y = Conv(t, third) }",
        first=np.tile(gaussian(8, 3, 1, 1), (4, 1, 1, 1)),
        second=gaussian(32, 6, 2, 2),
        bias=gaussian(24) if bias == "gaussian" else np.zeros(24, np.float32),
        third=gaussian(5, 24, 1, 1),
    )
    changes, merged = run(f"merge{{{options}}}", model)
    onnx.checker.check_model(merged.proto, full_check=True)
    if options == "error=0":
        assert changes == 0
        np.testing.assert_array_equal(outputs(merged.proto)[0], outputs(model)[0])
