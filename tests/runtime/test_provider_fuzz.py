"""Corrupted models in the execution provider: an error or an output, never a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from sparse_models import build, sparse

from onnxsqueeze.model import Model
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.passes.share import Share
from onnxsqueeze.pipeline import Context
from onnxsqueeze.pipeline.lower import lower
from onnxsqueeze.pipeline.unpack import unpack_file
from onnxsqueeze.runtime import native

FUZZ = """
import sys, numpy as np, onnx, onnxruntime
from onnxsqueeze.runtime.provider import session_options
onnxruntime.set_default_logger_severity(4)
rng = np.random.default_rng(int(sys.argv[2]))
opened = refused = 0
for round in range(int(sys.argv[3])):
    model = onnx.load(sys.argv[1])
    for _ in range(rng.integers(1, 3)):
        node = model.graph.node[rng.integers(len(model.graph.node))]
        numbers = [a for a in node.attribute if a.ints or a.type == onnx.AttributeProto.INT]
        tensor = model.graph.initializer[rng.integers(len(model.graph.initializer))]
        odd = int(rng.choice([-1, 0, 1, 2, 3, 255, 1 << 20, (1 << 28) - 1, 1 << 40, -(1 << 62)]))
        if rng.random() < 0.6 and numbers:
            attribute = numbers[rng.integers(len(numbers))]
            if attribute.ints:
                attribute.ints[rng.integers(len(attribute.ints))] = odd
            else:
                attribute.i = odd
        else:
            data = bytearray(tensor.raw_data)
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            tensor.raw_data = bytes(data)
    if sys.argv[4:]:
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(sys.argv[4])
        more = {"providers": ["CPUExecutionProvider"]}
    else:
        options, more = session_options(kernel="always"), {"enable_fallback": 0}
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, **more)
        shape = [d if isinstance(d, int) else 2 for d in session.get_inputs()[0].shape]
        floats = session.get_inputs()[0].type == "tensor(float)"
        session.run(None, {"x": np.ones(shape, np.float32 if floats else np.int64)})
        opened += 1
    except Exception as error:
        assert str(error)
        refused += 1
print(opened, refused)
"""


GEMM = "(float[n,150] x) => (float[n,100] y) { h = MatMul(x, w)  y = Add(h, b) }"
CONV = """(float[n,16,9,9] x) => (float[n,o,p,q] y) {
    y = Conv <strides=[2,1], pads=[1,1,1,1], dilations=[1,1], group=1> (x, w) }"""
GATHER = "(int64[n] x) => (float[n,75] y) { y = Gather(w, x) }"
MODELS = {
    "gemm": lambda: build(GEMM, w=sparse(150, 100, values=15), b=sparse(100, zeros=0)),
    "shared": lambda: build(GEMM, w=sparse(150, 100, zeros=0, values=15), b=sparse(100, zeros=0)),
    "convolution": lambda: build(CONV, w=sparse(32, 16, 3, 3, values=15)),
    "gather": lambda: build(GATHER, w=sparse(300, 75, zeros=0, values=15)),
}


def written(kind: str, folder: Path, passes: type[Any] = Huffman) -> Path:
    model = Model.load(MODELS[kind]())
    passes()(model, Context())
    lower(model, Context())
    model.save(folder / "model.onnx")
    return folder / "model.onnx"


def fuzz(path: Path, *more: str) -> None:
    command = [sys.executable, "-c", FUZZ, str(path), "1", "120", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    opened, refused = map(int, done.stdout.split())
    assert opened + refused == 120 and refused > 20


@pytest.mark.parametrize("kind", MODELS)
def test_corrupted_models_never_crash(kind: str, tmp_path: Path) -> None:
    fuzz(written(kind, tmp_path))


def test_corrupted_indices_in_place_never_crash(tmp_path: Path) -> None:
    path = written("gather", tmp_path, Share)
    assert any(node.op_type.startswith("Dense_P") for node in onnx.load(path).graph.node)
    fuzz(path)


@pytest.mark.parametrize("kind", MODELS)
def test_corrupted_operators_never_crash(kind: str, tmp_path: Path) -> None:
    unpack_file(written(kind, tmp_path), tmp_path / "operators.onnx", "always")
    fuzz(tmp_path / "operators.onnx", str(native.library_path()))
