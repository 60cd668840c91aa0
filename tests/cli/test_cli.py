"""The command line as a user meets it: what it prints, what it writes, how it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsqueeze.cli import main

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a real model, and the current one."""
    shutil.copy(LENET, tmp_path / "in.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "small.onnx"
    assert main([str(LENET), str(path), "--passes", "prune,share,huffman", "--quiet"]) == 0
    return path


def test_the_main_job_prints_its_tables_and_writes_a_smaller_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["in.onnx", "out.onnx", "--passes", "prune,share,huffman"]) == 0
    printed = capsys.readouterr().out
    for word in ("prune", "share", "huffman", "relative error", "x smaller"):
        assert word in printed
    assert (folder / "out.onnx").stat().st_size * 7 < (folder / "in.onnx").stat().st_size
    assert sorted(p.name for p in folder.iterdir()) == ["in.onnx", "out.onnx"]


def test_json_holds_the_same_facts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["in.onnx", "out.onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert told["compressed_nbytes"] == (folder / "out.onnx").stat().st_size
    assert told["ratio"] == told["original_nbytes"] / told["compressed_nbytes"]
    assert [step["name"] for step in told["steps"]] == ["fold", "share", "huffman"]
    assert told["verification"]["outputs"][0]["cosine"] > 0.99


def test_quiet_prints_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["in.onnx", "out.onnx", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_output_does_not_depend_on_the_workers(folder: Path) -> None:
    for jobs in ("1", "3"):
        assert main(["in.onnx", f"{jobs}.onnx", "--quiet", "--jobs", jobs]) == 0
    assert (folder / "1.onnx").read_bytes() == (folder / "3.onnx").read_bytes()


def test_inspect_unpack_and_verify_a_packed_file(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(packed)]) == 0
    assert "prune,share,huffman" in capsys.readouterr().out
    assert main(["inspect", str(packed), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["encoding"].startswith("Dense_H")
    dense = tmp_path / "dense.onnx"
    assert main(["unpack", str(packed), str(dense)]) == 0
    capsys.readouterr()
    assert main(["verify", str(packed), str(dense), "--json"]) == 0
    assert all(output["exact"] for output in json.loads(capsys.readouterr().out)["outputs"])


def test_inline_leaves_no_local_functions(folder: Path, packed: Path) -> None:
    assert main(["in.onnx", "inline.onnx", "--passes", "prune,share,huffman", "--inline", "--quiet"]) == 0
    assert not onnx.load("inline.onnx").functions
    onnx.checker.check_model("inline.onnx", full_check=True)
    import onnxruntime

    feed = {"image": np.zeros((1, 1, 28, 28), np.float32)}
    sessions = [onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"]) for p in ("inline.onnx", packed)]
    feed = {sessions[0].get_inputs()[0].name: np.random.default_rng(0).random((2, 1, 28, 28), np.float32)}
    assert sessions[0].run(None, feed)[0].tobytes() == sessions[1].run(None, feed)[0].tobytes()


def test_passes_and_zoo_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == ["fold", "prune", "share", "huffman"]
    assert all(entry["summary"] and entry["options"] for entry in listed)
    assert main(["zoo"]) == 0
    assert "ppocr-rec" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["inspect"], ["verify"], ["unpack"], ["passes"], ["zoo"]])
def test_help_exists(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "usage: onnxsqueeze" in capsys.readouterr().out


def model_with(weight: np.ndarray, nodes: list[onnx.NodeProto], output: str = "y") -> onnx.ModelProto:
    """A one-weight model: x [n, rows] in, ``output`` out."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.shape[0]])
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", weight.shape[1]])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def gaussian(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def write_bad_files() -> None:
    """Every kind of file that must be refused, in the current folder."""
    data = Path("in.onnx").read_bytes()
    Path("text.onnx").write_text("hello\n")
    Path("empty.onnx").touch()
    Path("short.onnx").write_bytes(data[:100_000])
    Path("random.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
    Path("folder.onnx").mkdir()
    Path("link.onnx").symlink_to("in.onnx")
    os.link("in.onnx", "hard.onnx")
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(model_with(gaussian(2, 8), [matmul]), "small.onnx")
    onnx.save(model_with(gaussian(8, 64), [helper.make_node("MatMul", ["x", "nowhere"], ["y"])]), "invalid.onnx")
    for name, location in (("missing", "gone.bin"), ("escaping", "../gone.bin"), ("absolute", "/etc/passwd")):
        model = model_with(gaussian(8, 64), [matmul])
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        Path(f"{name}.onnx").write_bytes(model.SerializeToString())
    Path("bad.npz").write_bytes(b"not a zip file")
    np.savez("wrong.npz", other=np.zeros(3))


BAD = [
    (["text.onnx", "o.onnx"], 1, "is text, not a binary ONNX model"),
    (["empty.onnx", "o.onnx"], 1, "is empty"),
    (["short.onnx", "o.onnx"], 1, "cut short"),
    (["random.onnx", "o.onnx"], 1, "not an ONNX model"),
    (["folder.onnx", "o.onnx"], 1, "is a folder"),
    (["none.onnx", "o.onnx"], 1, "does not exist"),
    (["invalid.onnx", "o.onnx"], 1, "not valid ONNX"),
    (["small.onnx", "o.onnx"], 1, "nothing to compress"),
    (["missing.onnx", "o.onnx"], 1, "'gone.bin' of tensor 'w' is missing"),
    (["escaping.onnx", "o.onnx"], 1, "leaves the model's folder"),
    (["absolute.onnx", "o.onnx"], 1, "must be a path relative"),
    (["in.onnx", "in.onnx"], 1, "is the input itself"),
    (["in.onnx", "link.onnx"], 1, "is the input itself"),
    (["in.onnx", "hard.onnx"], 1, "is the input itself"),
    (["in.onnx", "folder.onnx"], 1, "is a folder"),
    (["in.onnx", "nowhere/o.onnx"], 1, "create it first"),
    (["in.onnx", "o.bin"], 1, "must end in .onnx"),
    (["in.onnx", "o.onnx", "--inputs", "bad.npz"], 1, "cannot read inputs from 'bad.npz'"),
    (["in.onnx", "o.onnx", "--inputs", "wrong.npz"], 1, "has no array for input"),
    (["in.onnx", "o.onnx", "--passes", "prnue"], 2, "unknown pass 'prnue'; did you mean 'prune'?"),
    (["in.onnx", "o.onnx", "--passes", "prune{sparsty=1}"], 2, "did you mean 'sparsity'?"),
    (["in.onnx", "o.onnx", "--passes", "prune{sparsity=1.5}"], 2, "between 0 and 1"),
    (["in.onnx", "o.onnx", "--passes", "share{bits=9}"], 2, "between 1 and 8"),
    (["in.onnx", "o.onnx", "--passes", "share{bits=two}"], 2, "not a value of type int"),
    (["in.onnx", "o.onnx", "--passes", "prune{granularity=4:2}"], 2, "granularity 4:2"),
    (["in.onnx", "o.onnx", "--passes", ""], 2, "name at least one pass"),
    (["zoo:ppocr-rek", "o.onnx"], 1, "ppocr-rec"),
    (["unpack", "in.onnx", "o.onnx"], 1, "nothing to unpack"),
    (["inspect", "text.onnx"], 1, "is text"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input_gives_one_line_and_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    write_bad_files()
    before = {p.name for p in folder.iterdir()}
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("onnxsqueeze: ") and printed.err.count("\n") == 1
    assert words in printed.err
    assert {p.name for p in folder.iterdir()} == before


def test_a_packed_model_is_not_packed_again(packed: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(packed), "o.onnx"]) == 1
    assert "compressed already" in capsys.readouterr().err


def test_a_newer_format_and_corrupt_bytes_are_refused(
    packed: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(packed)
    next(o for o in model.opset_import if o.domain == "ai.onnxsqueeze").version = 2
    onnx.save(model, "newer.onnx")
    model = onnx.load(packed)
    stream = next(t for t in model.graph.initializer if t.name.endswith(".v"))
    stream.raw_data = bytes(b ^ 0xFF for b in stream.raw_data)
    onnx.save(model, "corrupt.onnx")
    for name, words in (("newer.onnx", "format version 2"), ("corrupt.onnx", "corrupt")):
        for command in (["unpack", name, "o.onnx"], ["inspect", name]):
            assert main(command) == 1
            assert words in capsys.readouterr().err
    assert not (folder / "o.onnx").exists()


def test_unknown_operators_are_kept_and_weights_packed_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Magic", ["h"], ["y"], domain="com.acme")]
    onnx.save(model_with(gaussian(64, 512), nodes), "magic.onnx")
    assert main(["magic.onnx", "o.onnx"]) == 0
    assert "outputs were not compared" in " ".join(capsys.readouterr().out.split())
    assert (folder / "o.onnx").stat().st_size * 4 < (folder / "magic.onnx").stat().st_size
    assert "Magic" in {n.op_type for n in onnx.load("o.onnx").graph.node}


def test_not_a_number_weights_are_left_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weight = gaussian(64, 64)
    weight[3, 3] = np.nan
    onnx.save(model_with(weight, [helper.make_node("MatMul", ["x", "w"], ["y"])]), "nan.onnx")
    assert main(["nan.onnx", "o.onnx"]) == 0
    assert "'w' holds NaN" in capsys.readouterr().out


def test_a_full_disk_leaves_the_old_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("o.onnx").write_bytes(b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert main(["in.onnx", "o.onnx"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert Path("o.onnx").read_bytes() == b"old"
    assert sorted(p.name for p in folder.iterdir()) == ["in.onnx", "o.onnx"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_before_any_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "locked").mkdir(mode=0o555)
    assert main(["in.onnx", "locked/o.onnx"]) == 1
    assert "permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.3, 0.9, 1.5])
def test_interruption_leaves_the_old_file_and_nothing_else(folder: Path, stop: signal.Signals, delay: float) -> None:
    Path("o.onnx").write_bytes(b"old")
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "onnxsqueeze.cli", "in.onnx", "o.onnx", "--passes", "share{bits=4},huffman"]
    process = subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    done = process.returncode == 0
    assert "Traceback" not in errors or delay < 0.5  # Python itself may still be starting
    if done:
        onnx.load("o.onnx")
    else:
        assert Path("o.onnx").read_bytes() == b"old"
    assert sorted(p.name for p in folder.iterdir()) == ["in.onnx", "o.onnx", "scratch"]
    if stop != signal.SIGKILL:
        assert not list(scratch.glob("*onnxsqueeze*"))
