"""The command line as a user meets it: what it prints and what it writes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_models import gaussian, model_with

from onnxsqueeze.cli import main
from onnxsqueeze.passes import PASSES


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
    assert [entry["name"] for entry in listed] == list(PASSES)
    assert all(entry["summary"] and entry["options"] for entry in listed)
    assert main(["zoo"]) == 0
    assert "ppocr-rec" in capsys.readouterr().out


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
        for command in (["unpack", name, "o.onnx"], ["inspect", name], ["verify", "in.onnx", name]):
            assert main(command) == 1
            printed = capsys.readouterr().err
            assert words in printed and printed.count("\n") == 1
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


def test_an_inlined_file_says_that_its_weights_cannot_be_recognised(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["in.onnx", "i.onnx", "--inline", "--quiet"]) == 0
    assert main(["inspect", "i.onnx"]) == 0
    assert "no packed weights can be recognised" in capsys.readouterr().out
    for command in (["unpack", "i.onnx", "o.onnx"], ["i.onnx", "o.onnx"]):
        assert main(command) == 1
        assert "--inline" in capsys.readouterr().err


def test_flags_may_come_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "passes"]) == 0
    assert {"name", "summary", "source", "options"} == set(json.loads(capsys.readouterr().out)[0])


def test_passes_name_options_defaults_and_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("granularity", "element", "Han et al. 2015", "Han, Mao and Dally 2016", "fold,share,huffman"):
        assert words in printed


@pytest.mark.parametrize(
    "command", [[], ["inspect"], ["verify"], ["report"], ["sweep"], ["unpack"], ["passes"], ["zoo"]]
)
def test_help_gives_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: onnxsqueeze" in printed and "example" in printed


def test_imports_and_help_are_quick() -> None:
    """In processor time beyond that of an empty Python: how busy the machine is does not count."""

    def took(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    for command in (["-c", "import onnxsqueeze"], ["-m", "onnxsqueeze.cli", "--help"]):
        assert min(took(*command) for _ in range(3)) - min(took("-c", "") for _ in range(3)) < 0.4


def test_stderr_stays_empty_and_a_reader_may_leave(folder: Path) -> None:
    own = [sys.executable, "-m", "onnxsqueeze.cli"]
    done = subprocess.run([*own, "in.onnx", "o.onnx"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shell = f"{sys.executable} -m onnxsqueeze.cli zoo | head -1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["passes"], ["passes", "--json"], ["in.onnx", "o.onnx"]])
def test_a_reader_that_has_left_is_no_failure(folder: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    own = [sys.executable, "-m", "onnxsqueeze.cli", *words]
    done = subprocess.run(own, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_report_that_cannot_be_printed_is_told_from_work_that_failed(folder: Path) -> None:
    own = [sys.executable, "-m", "onnxsqueeze.cli", "in.onnx", "o.onnx"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(own, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and (folder / "o.onnx").exists()
    assert done.stderr.count("\n") == 1 and "the work is done" in done.stderr and "No space left" in done.stderr
    closed = subprocess.run(f"{' '.join(own)} >&- 2>&-", shell=True, check=False)
    assert closed.returncode == 0


@pytest.mark.parametrize("name", ["PYTHONIOENCODING=ascii", "COLUMNS=20", "TERM=dumb"])
def test_any_terminal_will_do(folder: Path, name: str) -> None:
    key, _, value = name.partition("=")
    own = [sys.executable, "-m", "onnxsqueeze.cli", "in.onnx", "o.onnx"]
    done = subprocess.run(own, env={**os.environ, key: value}, capture_output=True, check=True)
    assert done.stderr == b"" and b"x smaller" in done.stdout


def test_separate_processes_write_the_same_bytes(folder: Path) -> None:
    for number, jobs in enumerate(("1", "2", "5")):
        command = [sys.executable, "-m", "onnxsqueeze.cli", "in.onnx", f"{number}.onnx", "--quiet", "--jobs", jobs]
        command += ["--passes", "fold,prune,share{bits=4 init=random},huffman", "--seed", "3"]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": str(number)}, check=True)
    assert len({Path(f"{number}.onnx").read_bytes() for number in range(3)}) == 1
