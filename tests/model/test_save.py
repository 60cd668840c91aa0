"""Saving is atomic, leaves nothing behind, never changes its input, and keeps external data bounded."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper, parser

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import Model, save


def layers(count: int = 3, size: int = 64) -> onnx.ModelProto:
    """A chain of MatMuls; the last weight stands in a Constant node."""
    rng = np.random.default_rng(count)
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17], doc_string: "kept", metadata_props: ["a": "b"]>
        g (float[N, {size}] v0) => (float[N, {size}] v{count}) {{
            {" ".join(f"v{i + 1} = MatMul(v{i}, w{i})" for i in range(count))}
        }}""")
    values = [rng.standard_normal((size, size)).astype(np.float32) for _ in range(count)]
    model.graph.initializer.extend(numpy_helper.from_array(v, f"w{i}") for i, v in enumerate(values[:-1]))
    last = helper.make_node("Constant", [], [f"w{count - 1}"], value=numpy_helper.from_array(values[-1]))
    model.graph.node.insert(0, last)
    return model


def outside(folder: Path, model: onnx.ModelProto) -> Path:
    """The model in a file with all weights in external data."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(
        copy,
        folder / "in.onnx",
        save_as_external_data=True,
        location="in.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    return folder / "in.onnx"


def outputs(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = ort.InferenceSession(path).run(None, {"v0": x})[0]
    return result


X = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)


def test_the_stream_equals_what_protobuf_writes(tmp_path: Path) -> None:
    proto = layers()
    Model.load(proto).save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == proto.SerializeToString()


@pytest.mark.parametrize("external", [None, True, False])
def test_external_data_kept_or_taken_in(tmp_path: Path, external: bool | None) -> None:
    proto = layers()
    source = outside(tmp_path, proto)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    model = Model.load(source)
    first = model.weights()[0]
    first.assign(first.values() * 2)
    model.save(tmp_path / "out.onnx", external)
    names = {p.name for p in tmp_path.iterdir()} - set(before)
    assert names == ({"out.onnx"} if external is False else {"out.onnx", "out.onnx.data"})
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    onnx.checker.check_model(str(tmp_path / "out.onnx"))
    np.testing.assert_allclose(outputs(tmp_path / "out.onnx", X), outputs(source, X) * 2, rtol=1e-4)
    if external is False:
        loaded = onnx.load(tmp_path / "out.onnx")
        assert (loaded.doc_string, loaded.metadata_props[0].key) == ("kept", "a")


def test_external_data_on_demand_and_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = layers(5)
    model = Model.load(proto)
    model.save(tmp_path / "plain.onnx")
    model.save(tmp_path / "asked.onnx", external=True)
    monkeypatch.setattr(save, "LIMIT", 60_000)
    model.save(tmp_path / "forced.onnx")
    for name in ("asked", "forced"):
        assert (tmp_path / f"{name}.onnx.data").stat().st_size >= 4 * 64 * 64 * 4
        assert np.array_equal(outputs(tmp_path / f"{name}.onnx", X), outputs(tmp_path / "plain.onnx", X))
    with pytest.raises(ModelError, match="2 GB"):
        model.save(tmp_path / "no.onnx", external=False)


def test_same_bytes_every_time(tmp_path: Path) -> None:
    source = outside(tmp_path, layers())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Model.load(source).save(tmp_path / name / "out.onnx")
    for name in ("out.onnx", "out.onnx.data"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("external", [False, True])
def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, external: bool
) -> None:
    (tmp_path / "out.onnx").write_bytes(b"old")
    model = Model.load(layers())

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelError if isinstance(error, OSError) else KeyboardInterrupt):
        model.save(tmp_path / "out.onnx", external)
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]
    assert (tmp_path / "out.onnx").read_bytes() == b"old"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    model = Model.load(layers())
    for place, words in (
        (tmp_path, "regular file"),
        (tmp_path / "none" / "m.onnx", "create it"),
        ("/dev/null", "regular"),
    ):
        with pytest.raises(ModelError, match=words):
            model.save(place)


def test_never_over_the_data_of_the_loaded_model(tmp_path: Path) -> None:
    Model.load(layers()).save(tmp_path / "m.onnx", external=True)
    before = (tmp_path / "m.onnx.data").read_bytes()
    with pytest.raises(ModelError, match="another output name"):
        Model.load(tmp_path / "m.onnx").save(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").read_bytes() == before


def test_scratch_files_go_with_the_model(tmp_path: Path) -> None:
    model = Model.load(outside(tmp_path, layers()))
    for weight in model.weights():
        weight.assign(weight.values())
        weight.assign(weight.values())
    scratch = model._scratch_path
    assert scratch is not None
    assert len(list(scratch.iterdir())) == 3
    del model, weight
    assert not scratch.exists()


def test_memory_stays_at_one_tensor(tmp_path: Path) -> None:
    source = outside(tmp_path, layers(8, 512))  # 8 MB in all, 1 MB a tensor
    model = Model.load(source)
    tracemalloc.start()
    for weight in model.weights():
        weight.assign(weight.values())
    model.save(tmp_path / "out.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
