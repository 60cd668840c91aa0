"""With a previous version, small float tensors move in steps from the old ones, and stay where they barely moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsqueeze.compress import compress
from onnxsqueeze.encode.order import ordered
from onnxsqueeze.model import Model
from onnxsqueeze.passes.keep import STEP_BITS, STILL, _stepped
from onnxsqueeze.pipeline.previous import Previous


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_steps(dtype: str) -> None:
    rng = np.random.default_rng(0)
    old = rng.standard_normal(500).astype(dtype)
    new = (old + 0.1 * rng.standard_normal(500)).astype(dtype)
    new[::5] = (old[::5] * 1.0005).astype(dtype)
    made = _stepped(new, old)
    rms = float(np.sqrt(np.mean(np.square(new, dtype=np.float64))))
    error = np.abs(made.astype(np.float64) - new)
    assert (error <= np.maximum(STILL * rms, np.abs(new.astype(np.float64)) * 2.0**-STEP_BITS)).all()
    assert float(np.sqrt(np.mean(np.square(error)))) < 0.01 * rms
    assert (made[::5] == old[::5]).all()
    size = 1 << np.finfo(old.dtype).nmant - STEP_BITS
    assert ((ordered(made) - ordered(old)) % size == 0).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_no_number_stays(value: float) -> None:
    old, new = np.ones(20, np.float32), np.full(20, 2.0, np.float32)
    new[3] = value
    assert _stepped(new, old).tobytes() == new.tobytes()


def model(bias: np.ndarray, weight: np.ndarray) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 64), ("y", 80))]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bias_of(path: Path) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if t.name == "b")


@pytest.mark.parametrize(("passes", "moves"), [("share,huffman", True), ("prune,huffman", False)])
def test_biases_move_in_steps_where_weights_are_shared(tmp_path: Path, passes: str, moves: bool) -> None:
    rng = np.random.default_rng(1)
    bias, weight = (rng.standard_normal(shape).astype(np.float32) for shape in (80, (64, 80)))
    compress(model(bias, weight), tmp_path / "old.onnx", "share,huffman")
    later = (bias + 0.05 * rng.standard_normal(80)).astype(np.float32)
    compress(model(later, weight), tmp_path / "new.onnx", passes, ota_base=tmp_path / "old.onnx")
    kept = bias_of(tmp_path / "new.onnx")
    assert (kept.tobytes() != later.tobytes()) == moves
    assert np.linalg.norm(kept - later) < 0.01 * np.linalg.norm(later)


def test_a_shared_tensor_that_was_not_packed_keeps_its_codebook() -> None:
    rng = np.random.default_rng(2)
    levels = np.linspace(-2, 2, 16, dtype=np.float32)
    dense = Model.load(model(np.ones(80, np.float32), rng.choice(levels, (64, 80))))
    previous = Previous({}, {weight.name: weight for weight in dense.weights(1)})
    found = previous.indexed(next(weight for weight in dense.weights() if weight.name == "w"))
    assert found is not None and set(found.codebook[found.codebook != 0]) <= set(levels)
