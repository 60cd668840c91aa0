"""The Python call: what it takes, what it tells, and what lies on disk afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import onnxsqueeze
from onnxsqueeze.errors import ModelError, PipelineError, SqueezeError

ROOT = Path(__file__).parents[2]
LENET = ROOT / "zoo" / "models" / "lenet-300-100.onnx"


def linear(weight: np.ndarray[Any, Any], opsets: str = '"" : 17', extra: str = "r = Identity(h)") -> onnx.ModelProto:
    text = f"(float[n,{weight.shape[0]}] x) => (float[a,b] y) {{ h = MatMul(x, w)  {extra}  y = Relu(r) }}"
    model = parser.parse_model(f"<ir_version: 8, opset_import: [{opsets}]> g {text}")
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


def gaussian(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def external(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    return path


def bits_of(path: Path) -> bytes:
    return numpy_helper.to_array(onnx.load(path).graph.initializer[0]).tobytes()


def test_a_path_a_proto_and_nothing_written(tmp_path: Path) -> None:
    written = onnxsqueeze.compress(LENET, tmp_path / "a.onnx", "prune,share,huffman")
    proto = onnx.load(LENET)
    before = proto.SerializeToString()
    again = onnxsqueeze.compress(proto, tmp_path / "b.onnx", "prune,share,huffman")
    assert proto.SerializeToString() == before
    measured = onnxsqueeze.compress(LENET, passes="prune,share,huffman")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert written.compressed_nbytes == measured.compressed_nbytes == (tmp_path / "a.onnx").stat().st_size
    assert (measured.output, again.source) == (None, "model in memory")
    assert written.ratio == written.original_nbytes / written.compressed_nbytes > 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_given_inputs_are_used_and_named(tmp_path: Path) -> None:
    feeds = [{"image": np.random.default_rng(i).random((3, 1, 28, 28), np.float32)} for i in range(2)]
    result = onnxsqueeze.compress(LENET, inputs=feeds)
    assert result.verification is not None
    assert (result.verification.samples, result.verification.inputs) == (2, "given inputs")
    single = onnxsqueeze.compress(LENET, inputs=feeds[0]).verification
    assert single is not None and (single.samples, single.inputs) == (1, "given inputs")
    np.savez(tmp_path / "some.npz", **feeds[0])
    result = onnxsqueeze.compress(LENET, inputs=tmp_path / "some.npz")
    assert result.verification is not None
    assert result.verification.inputs == str(tmp_path / "some.npz")
    with pytest.raises(ModelError, match="inputs are empty"):
        onnxsqueeze.compress(LENET, inputs=[])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 123}, "a model is a path or an onnx.ModelProto, not int"),
        ({"model": b"in.onnx"}, "not bytes"),
        ({"output": 1}, "an output is a path, not int"),
        ({"passes": ["prune"]}, "passes are a text such as 'prune,share,huffman', not list"),
        ({"inputs": 5}, "inputs are a path, a feed or a sequence of feeds, not int"),
    ],
)
def test_arguments_of_other_types_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SqueezeError, match=message):
        onnxsqueeze.compress(**{"model": LENET, **options})


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", "a"), ("jobs", 0), ("jobs", 1.5)])
def test_impossible_numbers_are_refused(name: str, value: Any) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(PipelineError, match=f"{name} must be at least"):
        onnxsqueeze.compress(LENET, **options)


def test_where_nothing_is_saved_the_output_is_a_copy(tmp_path: Path) -> None:
    onnx.save(linear(gaussian(8, 8)), tmp_path / "in.onnx")
    result = onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", "huffman")
    assert result.copied and result.ratio == 1
    assert "the output is a copy of the input" in result.notes[0]
    assert [w.encoding for w in result.weights] == [""]
    assert result.verification is not None and result.verification.outputs[0].exact
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "in.onnx").read_bytes()


def test_a_copy_brings_its_external_data_along(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source = external(tmp_path / "a" / "in.onnx", linear(gaussian(8, 12)))
    onnxsqueeze.compress(source, tmp_path / "out.onnx", "huffman")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "out.onnx", "out.onnx.data"]
    shutil.rmtree(tmp_path / "a")
    assert bits_of(tmp_path / "out.onnx") == gaussian(8, 12).tobytes()


def test_external_data_is_compressed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source = external(tmp_path / "a" / "in.onnx", linear(gaussian(64, 640)))
    result = onnxsqueeze.compress(source, tmp_path / "out.onnx")
    assert result.original_nbytes == sum(p.stat().st_size for p in (tmp_path / "a").iterdir())
    assert result.compressed_nbytes == sum(p.stat().st_size for p in tmp_path.glob("out.onnx*"))
    assert result.ratio > 5


def test_an_output_behind_a_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "model.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real" / "model.onnx")
    onnxsqueeze.compress(LENET, tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    onnx.checker.check_model(tmp_path / "real" / "model.onnx")


@pytest.mark.parametrize("inline", [False, True])
def test_unknown_operators_are_kept_and_weights_compared_in_the_file(tmp_path: Path, inline: bool) -> None:
    model = linear(gaussian(64, 640), '"" : 17, "acme" : 1', "r = acme.Magic <strength = 3> (h)")
    onnx.save(model, tmp_path / "in.onnx")
    result = onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", inline=inline)
    assert result.verification is None and not result.copied
    assert "all 1 packed weights were decoded and compared bit for bit" in result.notes[0]
    assert "onnx.checker accepts" in result.notes[0]
    kept = next(n for n in onnx.load(tmp_path / "out.onnx").graph.node if n.domain == "acme")
    assert kept.op_type == "Magic" and kept.attribute[0].i == 3


def test_an_opset_that_cannot_be_raised_is_named(tmp_path: Path) -> None:
    model = linear(gaussian(64, 640), '"" : 10', 'r = Resize <mode = "nearest"> (h, s)')
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0.5], np.float32), "s"))
    onnx.save(model, tmp_path / "in.onnx")
    with pytest.raises(ModelError, match=r"is of opset 10, which cannot be raised to the 13 that packed weights need"):
        onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx")
    with pytest.raises(ModelError, match=r"cannot be raised from opset 10 to 13.*leave --inline out"):
        onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", inline=True)
    assert [p.name for p in tmp_path.iterdir()] == ["in.onnx"]


def test_huge_models_are_compared_tensor_by_tensor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("onnxsqueeze.draft.RUN_UP_TO", 1000)
    result = onnxsqueeze.compress(LENET)
    assert result.verification is None
    assert "over 2 GB is not run without --inputs" in result.notes[0]
    assert "packed weights were decoded and compared" in result.notes[0]
    result = onnxsqueeze.compress(LENET, inputs=[{"image": np.zeros((1, 1, 28, 28), np.float32)}])
    assert result.verification is not None


def test_big_models_are_run_frugally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxsqueeze.verify.FRUGAL_FROM", 1000)
    monkeypatch.setattr("onnxsqueeze.verify.run.NATIVE_FROM", 1000)
    result = onnxsqueeze.compress(LENET)
    assert result.verification is not None
    assert result.verification.inputs == "made from the signature; largest weights decoded natively"


ODD: dict[str, np.ndarray[Any, Any]] = {
    "nan": np.full((64, 64), np.nan, np.float32),
    "infinite": np.full((64, 64), np.inf, np.float32),
    "huge": np.full((64, 64), 3e38, np.float32),
    "subnormal": gaussian(64, 64) * np.float32(1e-42),
    "zeros": np.zeros((64, 64), np.float32),
    "negative-zeros": np.full((64, 64), -0.0, np.float32),
    "equal": np.full((64, 64), 0.7, np.float32),
    "one-outlier": np.where(np.arange(4096).reshape(64, 64) == 7, 1e30, gaussian(64, 64)).astype(np.float32),
    "two-values": np.where(gaussian(64, 64) > 0, 1, -1).astype(np.float32),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("passes", ["fold,share,huffman", "prune,share,huffman", "prune{sparsity=0.9},share{bits=1}"])
def test_odd_weights(tmp_path: Path, name: str, passes: str) -> None:
    model = linear(ODD[name])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 5), np.float32), "empty"))
    onnx.save(model, tmp_path / "in.onnx")
    result = onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", passes)
    assert result.compressed_nbytes <= result.original_nbytes
    assert result.verification is not None and len(set(result.notes)) == len(result.notes)


def test_inputs_that_lose_their_default_are_noted(tmp_path: Path) -> None:
    model = linear(gaussian(64, 64))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [64, 64]))
    result = onnxsqueeze.compress(model, tmp_path / "out.onnx")
    assert [v.name for v in onnx.load(tmp_path / "out.onnx").graph.input] == ["x"]
    assert any("input 'w'" in note and "no longer be fed" in note for note in result.notes)
    assert not onnxsqueeze.compress(linear(gaussian(64, 64))).notes


def test_external_data_is_the_same_on_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(tempfile.TemporaryDirectory[str]):
        def __init__(self, **options: Any) -> None:
            time.sleep(0.02)  # time for other workers to want one too
            super().__init__(**options)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", Slow)
    nodes = " ".join(f"h{i + 1} = MatMul(h{i}, w{i})" for i in range(12))
    text = f"(float[n,32] x) => (float[n,32] y) {{ h0 = Relu(x)  {nodes}  y = Relu(h12) }}"
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    weights = np.random.default_rng(0).standard_normal((12, 32, 32)).astype(np.float32) / 6
    model.graph.initializer.extend(numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights))
    (tmp_path / "a").mkdir()
    source = external(tmp_path / "a" / "in.onnx", model)
    written = set()
    for number, jobs in enumerate((1, 8, 8)):
        onnxsqueeze.compress(source, tmp_path / "o.onnx", "prune{sparsity=0.5},share{bits=4},huffman", jobs=jobs)
        written.add((tmp_path / "o.onnx").read_bytes() + (tmp_path / "o.onnx.data").read_bytes())
        assert len(written) == 1, number
