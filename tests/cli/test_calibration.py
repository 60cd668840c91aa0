"""--calibration: from each kind of source to the passes, and on what the output is verified."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxsqueeze.cli import main

PASSES = "prune{sparsity=0.6 minimum=64},huffman"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 96])]
    weight = numpy_helper.from_array(rng.standard_normal((64, 96)).astype(np.float32), "w")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "in.onnx")
    samples = (rng.standard_normal((200, 1, 64)) @ np.linspace(0.1, 3, 64 * 64).reshape(64, 64)).astype(np.float32)
    np.savez("samples.npz", x=samples[:, 0])
    Path("many").mkdir()
    for number in range(8):
        np.save(f"many/{number}.npy", samples[number])
    Path("mine.py").write_text(
        "import numpy\ndef samples():\n    return list(numpy.load('samples.npz')['x'][:, None])\n"
    )
    return tmp_path


def run(*arguments: str) -> int:
    return main(list(arguments))


SOURCES = [("samples.npz", "50 of 200"), ("many", "2 of 8"), ("mine:samples", "50 of 200")]


@pytest.mark.parametrize(("source", "told"), SOURCES)
def test_every_kind_of_source(folder: Path, capsys: pytest.CaptureFixture[str], source: str, told: str) -> None:
    assert run("in.onnx", "out.onnx", "--passes", PASSES, "--calibration", source, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verification"]["inputs"] == f"{source}: {told} samples, held out"
    found = facts["verification"]["outputs"][0]["relative_error"]
    assert run("in.onnx", "plain.onnx", "--passes", PASSES, "--json", "--inputs", "one.npz") == 1
    capsys.readouterr()
    np.savez("one.npz", x=np.load("samples.npz")["x"][3:4])
    assert run("in.onnx", "plain.onnx", "--passes", PASSES, "--json", "--inputs", "one.npz") == 0
    assert found < json.loads(capsys.readouterr().out)["verification"]["outputs"][0]["relative_error"]


def test_a_negative_size_is_an_open_one(folder: Path) -> None:
    """As some exporters write it: samples are cut one by one, and any number of rows fits."""
    model = onnx.load("in.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, "open.onnx")
    assert run("open.onnx", "out.onnx", "--passes", PASSES, "--calibration", "samples.npz", "--quiet") == 0
    np.savez("three.npz", x=np.load("samples.npz")["x"][:3])
    assert run("verify", "open.onnx", "out.onnx", "--inputs", "three.npz", "--quiet") == 0


def test_the_same_samples_give_the_same_bytes(folder: Path) -> None:
    for jobs in ("1", "3"):
        options = ("--passes", PASSES, "--calibration", "many", "--quiet")
        assert run("in.onnx", f"{jobs}.onnx", "--jobs", jobs, *options) == 0
    assert Path("1.onnx").read_bytes() == Path("3.onnx").read_bytes()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.npz", "cannot read calibration samples from 'missing.npz'"),
        ("in.onnx", "cannot read calibration samples from 'in.onnx'"),
        ("nowhere", "is no .npz file, no folder and no module:function"),
        ("empty", "holds no samples"),
        ("mine:nothing", "cannot be imported"),
        ("wrong.npz", "the model has no input 'z'"),
        ("narrow.npz", "input 'x' must have shape [1, 64]"),
        ("double.npz", "input 'x' must be float32, not float64"),
    ],
)
def test_bad_samples_are_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], source: str, words: str
) -> None:
    Path("empty").mkdir()
    np.savez("wrong.npz", z=np.zeros((4, 64), np.float32))
    np.savez("narrow.npz", x=np.zeros((4, 63), np.float32))
    np.savez("double.npz", x=np.zeros((4, 64)))
    assert run("in.onnx", "out.onnx", "--calibration", source) == 1
    error = capsys.readouterr().err
    assert words in error.replace("\n", " ") and error.count("\n") == 1
    assert not Path("out.onnx").exists()
