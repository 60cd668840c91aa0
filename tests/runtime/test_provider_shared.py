"""Products with shared weights and rows of packed embeddings in the execution provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from sparse_models import Array, build, sparse
from test_provider import BOUND, batches, native, options

import onnxsqueeze
from onnxsqueeze.model import Model

PASSES = [f"share{{bits={bits}}}" for bits in (1, 2, 3, 4, 5, 6, 8)] + ["share{bits=4},huffman"]


def compressed(proto: onnx.ModelProto, passes: str, folder: Path) -> str:
    onnx.save(proto, folder / "in.onnx")
    onnxsqueeze.compress(folder / "in.onnx", folder / "out.onnx", passes)
    assert Model.load(folder / "out.onnx").is_packed
    return str(folder / "out.onnx")


def check(
    path: str, feeds: list[dict[str, Array]], folder: Path, kernel: str, nodes: int = 1, exact: bool = False
) -> None:
    """The provider gives what stock onnxruntime makes of the same file."""
    stock = onnxruntime.InferenceSession(path, options(), providers=["CPUExecutionProvider"])
    found, ran = native(path, feeds, folder, kernel)
    assert ran == nodes
    for feed, (output,) in zip(feeds, found, strict=True):
        (expected,) = stock.run(None, feed)
        assert output.shape == expected.shape
        if exact:
            assert np.array_equal(output, expected)
        assert np.abs(output - expected).max(initial=0) <= BOUND * np.abs(expected).max(initial=1)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("transposed", [0, 1])
def test_products(passes: str, transposed: int, tmp_path: Path) -> None:
    text = f"(float[n,150] x) => (float[n,77] y) {{ h = Gemm <transB={transposed}> (x, w, b)  y = Relu(h) }}"
    shape = (77, 150) if transposed else (150, 77)
    scale = np.geomspace(1, 20, shape[0], dtype=np.float32)[:, None]
    model = build(text, w=sparse(*shape, zeros=0) * scale, b=np.ones(77, np.float32))
    check(compressed(model, passes, tmp_path), batches(150, 0, 1, 2, 3, 7, 16, 33), tmp_path, "always")


@pytest.mark.parametrize("passes", PASSES)
def test_embeddings(passes: str, tmp_path: Path) -> None:
    """Bit for bit what stock onnxruntime gives, for ids of any shape, negative ones, and none at all."""
    for kind, shape in (("int64", "n,k"), ("int32", "n")):
        text = f"({kind}[{shape}] x) => (float[{shape},75] y) {{ y = Gather(w, x) }}"
        path = compressed(build(text, w=sparse(1001, 75, zeros=0)), passes, tmp_path)
        ids = np.random.default_rng(0).integers(-1001, 1001, (4, 6)).astype(kind)
        feeds = [{"x": ids if "k" in shape else ids[0]}, {"x": ids[:0] if "k" in shape else ids[0, :0]}]
        check(path, feeds, tmp_path, "auto", exact=True)


def test_rows_of_several_dimensions(tmp_path: Path) -> None:
    text = "(int64[n] x) => (float[n,5,7] y) { y = Gather(w, x) }"
    path = compressed(build(text, w=sparse(300, 5, 7, zeros=0)), "share{bits=5}", tmp_path)
    check(path, [{"x": np.array([3, -1, 0])}], tmp_path, "always", exact=True)


def test_what_is_left_to_onnxruntime(tmp_path: Path) -> None:
    for text in (
        "(int64[n] x) => (float[300,n] y) { y = Gather <axis=1> (w, x) }",
        "(int64[n] x) => (float[n,75] y) { g = Gather(w, x)  s = ReduceMax <keepdims=0> (w)  y = Add(g, s) }",
    ):
        path = compressed(build(text, w=sparse(300, 75, zeros=0)), "share{bits=4}", tmp_path)
        check(path, [{"x": np.array([3, 0])}], tmp_path, "always", nodes=0)


def test_ids_out_of_range_are_errors(tmp_path: Path) -> None:
    text = "(int64[n] x) => (float[n,75] y) { y = Gather(w, x) }"
    path = compressed(build(text, w=sparse(300, 75, zeros=0)), "share{bits=4}", tmp_path)
    for wrong in (300, -301):
        with pytest.raises(Exception, match="index of Gather is out of range"):
            native(path, [{"x": np.array([0, wrong])}], tmp_path)


def test_shared_products_need_a_known_batch(tmp_path: Path) -> None:
    for rows, nodes in (("1", 1), ("n", 0), ("100", 0)):
        text = f"(float[{rows},256] x) => (float[{rows},128] y) {{ y = MatMul(x, w) }}"
        path = compressed(build(text, w=sparse(256, 128, zeros=0)), "share{bits=3}", tmp_path)
        feeds = batches(256, int(rows) if rows.isdigit() else 2)
        check(path, feeds, tmp_path, "auto", nodes)
