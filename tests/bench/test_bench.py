"""Measuring a model: all ways are measured, on the same inputs, and what ran where is said of every weight."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian

import onnxsqueeze
from onnxsqueeze.bench import bench
from onnxsqueeze.bench.session import WAYS
from onnxsqueeze.cli import main
from onnxsqueeze.errors import ModelError, PipelineError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compressed model of one sparse layer, one that is not, and one without a kernel."""
    folder = tmp_path_factory.mktemp("bench")
    few = np.where(np.random.default_rng(0).random((200, 150)) < 0.95, 0, gaussian(200, 150)).astype(np.float32)
    text = "(float[n,200] x) => (float[n,9] y) { h = MatMul(x, few)  g = MatMul(h, many)  y = Mul(g, scale) }"
    onnx.save(build(text, few=few, many=gaussian(150, 90), scale=gaussian(90)), folder / "in.onnx")
    onnxsqueeze.compress(folder / "in.onnx", folder / "out.onnx", "share,huffman")
    return folder / "out.onnx"


def test_every_way_is_measured(model: Path) -> None:
    found = bench(model, seconds=0.1)
    assert [way.name for way in found.ways] == list(WAYS)
    for way in found.ways:
        assert (way.seconds is None) == (way.name == "load")
        assert way.opened.seconds > 0 and way.opened.peak_nbytes > 0
    assert found.rounds >= 5
    assert 0 <= found.error < 1e-5
    assert found.against == "the same model, unpacked"


def test_what_became_of_each_weight_is_said(model: Path) -> None:
    told = {layer.weight: layer for layer in bench(model, seconds=0.1).layers}
    assert (told["few"].kernel, told["few"].op_type) == ("sparse", "MatMul")
    assert "95" in told["few"].reason and (told["few"].seconds or 0) > 0
    assert told["few"].input_zeros == 0 and (told["few"].skipping_seconds or 0) > 0
    assert told["many"].input_zeros is told["many"].skipping_seconds is None
    assert told["many"].kernel == "" and "dense is faster" in told["many"].reason
    assert all(layer.kernel for layer in bench(model, seconds=0.1, kernel="always").layers if layer.op_type == "MatMul")


def test_the_command_prints_tables_and_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    against = str(model.with_name("in.onnx"))
    assert main(["bench", str(model), "--against", against, "--seconds", "1", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for word in ("runtime.load on the CPU provider", "stock onnxruntime", "few", "sparse", "1 thread,", against):
        assert word in printed
    assert main(["bench", str(model), "--seconds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["speedup"]["dense"] == pytest.approx(told["ways"][0]["seconds"] / told["ways"][3]["seconds"])


def test_bad_input_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no packed weights"):
        bench(model.with_name("in.onnx"))
    with pytest.raises(ModelError, match=r"does not exist|No such file|not found"):
        bench(tmp_path / "none.onnx")
    with pytest.raises(PipelineError, match="seconds must be at least 0"):
        bench(model, seconds=-1)
    np.savez(tmp_path / "wrong.npz", z=np.zeros(3, np.float32))
    with pytest.raises(ModelError, match="no input 'z'"):
        bench(model, inputs=str(tmp_path / "wrong.npz"))


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("(float[n,200] z) => (float[n,9] y) { y = MatMul(z, w) }", "takes other inputs than .*: 'z', not 'x'"),
        ("(float[n,100] x) => (float[n,9] y) { y = MatMul(x, v) }", r"'x' has shape \[n, 100\], not \[n, 200\]"),
        ("(double[n,200] x) => (double[n,200] y) { y = Relu(x) }", "'x' is double, not float"),
    ],
)
def test_a_model_of_other_inputs_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], signature: str, words: str
) -> None:
    onnx.save(build(signature, w=gaussian(200, 9), v=gaussian(100, 9)), tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=words):
        bench(model, tmp_path / "other.onnx")
    assert main(["bench", str(model), "--against", str(tmp_path / "other.onnx")]) == 1
    error = capsys.readouterr().err
    assert "unexpected" not in error and error.count("\n") == 1
