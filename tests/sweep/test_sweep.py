"""Sweeps over a real model: the results are those of one by one, a folder holds the front, and a sweep goes on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxsqueeze
from onnxsqueeze.errors import ModelError, PipelineError
from onnxsqueeze.report import inspect
from onnxsqueeze.runtime import session
from onnxsqueeze.sweep import Sweep, front, run, sweep, worker

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-300-100.onnx"
GRID = "prune{sparsity=0.5 granularity=[element row]}|share{bits=[2 4]}"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep]:
    folder = tmp_path_factory.mktemp("sweeps") / "front"
    return folder, sweep(LENET, [GRID], jobs=2, folder=folder)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_points_are_what_each_pipeline_gives(kept: tuple[Path, Sweep]) -> None:
    _, found = kept
    assert [p.passes for p in found.points] == [
        f"prune{{sparsity=0.5{g}}},share{{bits={b}}}" for g in ("", " granularity=row") for b in (2, 4)
    ]
    for point in found.points[::3]:
        alone = onnxsqueeze.compress(LENET, passes=point.passes)
        assert alone.verification is not None and alone.verification.worst is not None
        assert point.nbytes == alone.compressed_nbytes
        assert point.error == pytest.approx(alone.verification.worst.relative_error, rel=1e-3)
        assert found.ratio(point) == pytest.approx(alone.ratio)
    assert [found.points[i].place for i in found.front] == [
        found.points[i].place for i in front([p.place for p in found.points if p.place])
    ]
    assert found.knee in found.front


def test_the_folder_holds_the_front(kept: tuple[Path, Sweep]) -> None:
    folder, found = kept
    best = [found.points[i] for i in found.front]
    assert files(folder) == {"sweep.json"} | {p.file for p in best}
    assert all(p.kept == (p in best) for p in found.points)
    for point in best:
        assert (folder / point.file).stat().st_size == point.nbytes
        assert inspect.listing(str(folder / point.file)).passes == point.passes


def test_a_sweep_goes_on_where_it_was(kept: tuple[Path, Sweep], tmp_path: Path) -> None:
    folder, found = kept
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    lost = found.points[found.front[0]]
    (copy / lost.file).unlink()
    record = json.loads((copy / "sweep.json").read_text())
    worst = next(p for p in record["points"] if not p["kept"])
    record["points"].remove(worst)
    (copy / "sweep.json").write_text(json.dumps(record))
    again = sweep(LENET, [GRID], jobs=1, folder=copy)
    assert again.reused == len(found.points) - 2
    assert files(copy) == files(folder)
    assert [(p.passes, p.nbytes, p.kept) for p in again.points] == [(p.passes, p.nbytes, p.kept) for p in found.points]


def test_sweeps_in_a_folder_add_up(kept: tuple[Path, Sweep], tmp_path: Path) -> None:
    folder, found = kept
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    more = sweep(LENET, ["share{bits=3}"], jobs=1, folder=copy)
    assert more.points[0].passes == "share{bits=3}"
    assert {p.passes for p in more.points[1:]} == {p.passes for p in found.points}
    assert files(copy) == {"sweep.json"} | {more.points[i].file for i in more.front}


def test_external_data_is_kept_beside_the_model(tmp_path: Path) -> None:
    onnx.save_model(onnx.load(LENET), tmp_path / "in.onnx", save_as_external_data=True, location="in.data")
    found = sweep(tmp_path / "in.onnx", ["share{bits=[2 4]}"], jobs=1, folder=tmp_path / "front")
    for i in found.front:
        path = tmp_path / "front" / found.points[i].file
        session.load(str(path))
        assert sum(p.stat().st_size for p in (tmp_path / "front").glob(f"{path.name}*")) == found.points[i].nbytes


def test_inputs_are_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (name,) = (v.name for v in onnx.load(LENET).graph.input)
    np.savez(tmp_path / "x.npz", **{name: rng.random((8, 1, 28, 28), np.float32)})
    given = sweep(LENET, ["share{bits=2}"], inputs=tmp_path / "x.npz", jobs=1)
    made = sweep(LENET, ["share{bits=2}"], jobs=1)
    assert given.inputs == str(tmp_path / "x.npz") and made.inputs == "made from the signature"
    assert given.points[0].error != made.points[0].error


def test_a_pipeline_that_fails_does_not_end_the_sweep(tmp_path: Path) -> None:
    w = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    graph = "g (float[2,64] x) => (float[2,48] y) { h = MatMul(x, w)  y = Reciprocal(h) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}')
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    onnx.save(model, tmp_path / "in.onnx")
    found = sweep(tmp_path / "in.onnx", ["prune{sparsity=[0.1 1.0]}"], jobs=1, folder=tmp_path / "front")
    good, bad = found.points
    assert good.place is not None and "NaN or infinity" in bad.problem and not bad.kept
    assert (found.front, found.knee) == ((0,), 0) and files(tmp_path / "front") == {"sweep.json", good.file}
    assert sweep(tmp_path / "in.onnx", ["prune{sparsity=[0.1 1.0]}"], jobs=1, folder=tmp_path / "front").reused == 2
    with pytest.raises(ModelError, match="NaN or infinity"):
        sweep(tmp_path / "in.onnx", ["prune{sparsity=1.0}"], jobs=1)


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{}",
        "[]",
        "{" * 100_000,
        '{"points": [{}]}',
        '{"points": [{"passes": "../../x", "nbytes": "1"}]}',
        '{"points": 3}',
    ],
)
def test_a_record_that_is_none_is_refused(damage: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(damage)
    with pytest.raises(ModelError, match="not the record of a sweep"):
        sweep(LENET, ["share{bits=2}"], folder=tmp_path)
    assert (tmp_path / "sweep.json").read_text() == damage and files(tmp_path) == {"sweep.json"}


def test_another_sweep_is_refused(kept: tuple[Path, Sweep]) -> None:
    folder, _ = kept
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ModelError, match="another model"):
        sweep(LENET, [GRID], folder=folder, seed=1)
    with pytest.raises(ModelError, match="another model"):
        sweep(LENET.with_name("lenet-5.onnx"), [GRID], folder=folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_record_says_never_touches_files_outside(kept: tuple[Path, Sweep], tmp_path: Path) -> None:
    folder, _ = kept
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (tmp_path / "precious.onnx").write_text("precious")
    record = json.loads((copy / "sweep.json").read_text())
    record["points"].append(
        record["points"][0] | {"passes": "../precious", "nbytes": 10**9, "error": 9.0, "kept": True}
    )
    (copy / "sweep.json").write_text(json.dumps(record))
    sweep(LENET, ["share{bits=3}"], jobs=1, folder=copy)
    assert (tmp_path / "precious.onnx").read_text() == "precious"


def test_refusals_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist; check the path"):
        sweep(tmp_path / "none.onnx", [GRID])
    with pytest.raises(ModelError, match="create it first"):
        sweep(LENET, [GRID], folder=tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be used as a folder"):
        sweep(LENET, [GRID], folder=tmp_path / "file")
    with pytest.raises(PipelineError, match="jobs must be at least 1"):
        sweep(LENET, [GRID], jobs=0)
    with pytest.raises(ModelError, match="cannot read inputs"):
        sweep(LENET, [GRID], inputs=tmp_path / "none.npz")


def test_large_models_are_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(run, "_memory", lambda: 1 << 20)
    monkeypatch.setattr(run, "_run_all", lambda requests, workers, *rest: seen.append((workers, requests[0].jobs)))
    with pytest.raises(KeyError):
        sweep(LENET, ["share{bits=2}"], jobs=8)
    assert seen == [(1, 8)]


def test_a_killed_worker_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    process = worker.Worker()
    process._process.kill()
    request = worker.Request(str(LENET), "nowhere", "huffman", None, 0, 1)
    with pytest.raises(ModelError, match="maybe for lack of memory"):
        process.ask(request)
    process.close()


def test_a_full_disk_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise ModelError("no space") from OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["onnxsqueeze.compress"], "compress", full)
    request = worker.Request(str(LENET), str(tmp_path / "0"), "huffman", None, 0, 1)
    assert worker.run(request) == {"failure": "no space"}
