"""What the provider takes over beside the layer itself: shortcuts, and biases that several layers share."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper
from sparse_models import build, packed, sparse
from test_provider import BOUND, batches, check, native, options

from onnxsqueeze.runtime.provider import session_options


@pytest.mark.parametrize("order", ["h, r", "r, h"])
@pytest.mark.parametrize("rows", [(2, 2), (1, 3), (3, 1), (0, 1), (2, 3)], ids=str)
def test_sums_with_what_went_before(order: str, rows: tuple[int, int], tmp_path: Path) -> None:
    """Conv, Add and Relu are one node, also where the batch, which is not known, turns out to be another."""
    text = f"""(float[n,12,9,9] x, float[m,12,9,9] r) => (float[k,12,9,9] y) {{
        h = Conv <pads=[1,1,1,1]> (x, w, b)  s = Add({order})  y = Relu(s) }}"""
    model = build(text, w=sparse(12, 12, 3, 3), b=sparse(12, zeros=0))
    feeds = [{name: sparse(size, 12, 9, 9, zeros=0) for name, size in zip("xr", rows, strict=True)}]
    if rows == (2, 3):
        with pytest.raises(Exception, match="has another shape"):
            native(packed(model), feeds, tmp_path)
        return
    check(model, feeds, tmp_path)
    assert not any("Add" in name for name in native_names(tmp_path))


def native_names(folder: Path) -> set[str]:
    """Nodes in the last profile."""
    last = max(folder.glob("profile*"), key=os.path.getmtime)
    return {event.get("args", {}).get("op_name", "") for event in json.loads(last.read_text())}


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"])
def test_layers_that_share_a_bias(level: str, tmp_path: Path) -> None:
    text = """(float[n,90] x) => (float[n,90] y) {
        h = Gemm(x, v, b)  g = Relu(h)  m = MatMul(g, w)  y = Add(m, b) }"""
    model = build(text, v=sparse(90, 90, seed=1), w=sparse(90, 90), b=sparse(90, zeros=0.9))
    feeds = batches(90, 2)
    stock = onnxruntime.InferenceSession(packed(model), options(), providers=["CPUExecutionProvider"])
    made = session_options(options(), kernel="always", profile="")
    made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(packed(model), made, enable_fallback=0)
    expected = stock.run(None, feeds[0])[0]
    assert np.abs(session.run(None, feeds[0])[0] - expected).max() <= BOUND * np.abs(expected).max()
    assert native(packed(model), feeds, tmp_path)[1] == 2


BRANCHES = """(float[{rows},64] x, bool c) => (float[{rows},64] y) {{
    y = If(c) <then_branch = t () => (float[{rows},64] p) {{ p = {first} }},
               else_branch = e () => (float[{rows},64] q) {{ q = {second} }}> }}"""


@pytest.mark.parametrize("kernel", ["auto", "always"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize("products", ["MatMul(x, w)|MatMul(x, w)", "Gemm <transB=1> (x, w)|MatMul(x, w)"])
def test_branches_may_name_their_weights_alike(
    products: str, order: tuple[int, int], kernel: str, tmp_path: Path
) -> None:
    """Each body of an If has its own initializers: what is decided on one says nothing of the other."""
    first, second = products.split("|")
    model = build(BRANCHES.format(rows=1, first=first, second=second))
    weights = [sparse(64, 64, zeros=0.95), sparse(64, 64, zeros=0, values=16)]
    for attribute, place in zip(model.graph.node[0].attribute, order, strict=True):
        attribute.g.initializer.append(numpy_helper.from_array(weights[place], "w"))
    feeds = [batches(64, 1)[0] | {"c": np.array(value)} for value in (True, False)]
    dense = onnxruntime.InferenceSession(model.SerializeToString(), options(), providers=["CPUExecutionProvider"])
    account = tmp_path / "account.jsonl"
    made = session_options(options(), kernel=kernel, profile="vector=0.6,cached=0.6,shared_cached=6", account=account)
    session = onnxruntime.InferenceSession(packed(model), made, enable_fallback=0)
    for feed in feeds:
        expected = dense.run(None, feed)[0]
        assert np.abs(session.run(None, feed)[0] - expected).max() <= BOUND * np.abs(expected).max()
    if onnxruntime.__version__ >= "1.24.4":  # older ones take no claims in bodies
        assert all(f'"kernel": "{kind}"' in account.read_text() for kind in ("sparse", "shared"))


@pytest.mark.parametrize(
    ("x", "y", "bias", "is_one"),
    [
        ((4, 64), "4,90", (90,), True),
        ((4, 64), "4,90", (1, 90), True),
        ((4, 64), "1,4,90", (1, 1, 90), False),
        ((64,), "90", (90,), True),
        ((64,), "1,90", (1, 90), False),
        ((2, 4, 64), "2,4,90", (1, 1, 90), True),
    ],
    ids=str,
)
def test_biases_of_more_dimensions_than_the_product(
    x: tuple[int, ...], y: str, bias: tuple[int, ...], is_one: bool, tmp_path: Path
) -> None:
    for known in (True, False):
        text = f"""(float[{",".join(map(str, x))}] x, int64[r] s) => (float[{y}] y) {{
            v = {"Identity(x)" if known else "Reshape(x, s)"}  h = MatMul(v, w)  y = Add(h, b) }}"""
        model = build(text, w=sparse(64, 90), b=sparse(*bias, zeros=0))
        check(model, [{"x": sparse(*x, zeros=0), "s": np.array(x)}], tmp_path)
        assert ("Add" not in native_names(tmp_path)) == (is_one and (known or len(bias) == 1))
