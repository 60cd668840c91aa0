"""``report``, ``--report`` and ``sweep`` from the command line."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import helper
from small_models import gaussian, model_with

from onnxsqueeze.cli import main

PASSES = "prune{sparsity=0.5},share{bits=4},huffman"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_report_on_two_files(folder: Path, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "in.onnx", str(packed), "--html", "r.html", "--markdown", "r.md"]) == 0
    text = printed(capsys)
    assert "Where the bytes went" in text and "x smaller" in text and "Outputs compared" in text
    page, lines = Path("r.html").read_text(), Path("r.md").read_text()
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert lines.startswith("### in\\.onnx: 1.73 MB") and "--passes prune,share,huffman" in lines
    assert {p.name for p in folder.iterdir()} == {"in.onnx", "r.html", "r.md"}


def test_a_report_as_facts(folder: Path, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "in.onnx", str(packed), "--json", "--no-run"]) == 0
    told = json.loads(printed(capsys))
    assert told["verification"] is None and told["passes"] == "prune,share,huffman"
    assert told["compressed"]["nbytes"] == packed.stat().st_size
    assert sum(change["nbytes"] for change in told["changes"]) == packed.stat().st_size - Path("in.onnx").stat().st_size


def test_a_report_on_the_main_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["in.onnx", "o.onnx", "--passes", PASSES, "--seed", "3", "--report", "r.html"]) == 0
    printed(capsys)
    page = Path("r.html").read_text()
    assert "Pass by pass" in page and "prune{sparsity=0.5}" in page
    assert "onnxsqueeze in.onnx o.onnx --passes &#39;prune{sparsity=0.5},share{bits=4},huffman&#39; --seed 3" in page


def test_reports_replace_old_ones_and_never_their_inputs(folder: Path, packed: Path) -> None:
    Path("r.html").write_text("old")
    os.link("in.onnx", "hard.html")
    before = Path("in.onnx").read_bytes()
    assert main(["report", "in.onnx", str(packed), "--html", "r.html", "--no-run", "--quiet"]) == 0
    assert Path("r.html").read_text() != "old"
    assert main(["report", "in.onnx", str(packed), "--html", "hard.html", "--no-run", "--quiet"]) == 1
    assert main(["in.onnx", "o.onnx", "--report", "hard.html", "--quiet"]) == 1
    assert Path("in.onnx").read_bytes() == before and not Path("o.onnx").exists()


def test_a_full_disk_leaves_the_old_report(
    folder: Path, packed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Path("r.html").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    assert main(["report", "in.onnx", str(packed), "--html", "r.html", "--no-run"]) == 1
    assert capsys.readouterr().err == "onnxsqueeze: output 'r.html' cannot be written: No space left on device\n"
    assert Path("r.html").read_text() == "old" and not list(folder.glob(".*"))


def test_a_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["sweep", "in.onnx", "--passes", "share{bits=[2 6]}|huffman", "--jobs", "1", "--out-dir", "front"]
    assert main([*line, "--html", "s.html"]) == 0
    text = printed(capsys)
    assert "the knee is share{bits=6},huffman" in text and "◆" in text
    assert "<circle" in Path("s.html").read_text()
    assert main([*line, "--json"]) == 0
    told = json.loads(printed(capsys))
    assert told["reused"] == 2 and told["knee"] == 1 and len(told["front"]) == 2
    assert {p["file"] for p in told["points"]} | {"sweep.json"} == {p.name for p in Path("front").iterdir()}
    assert main(["verify", "in.onnx", f"front/{told['points'][0]['file']}", "--quiet"]) == 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_broken_off_leaves_no_process(folder: Path, stop: signal.Signals) -> None:
    (folder / "scratch").mkdir()
    line = ["sweep", "in.onnx", "--out-dir", "front", "--jobs", "2", "--quiet"]
    line += ["--passes", "prune{sparsity=0.1..0.9:0.02}|share{bits=8}"]
    environment = {**os.environ, "TMPDIR": str(folder / "scratch")}
    command = [sys.executable, "-m", "onnxsqueeze.cli", *line]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    record = Path("front/sweep.json")
    while not record.exists() and process.poll() is None:
        time.sleep(0.05)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    expected = (130, "onnxsqueeze: interrupted\n") if stop == signal.SIGINT else (-stop, "")
    assert (process.returncode, errors) == expected
    points = json.loads(record.read_text())["points"]
    assert points and list(Path("front").glob("*.onnx"))
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    if stop == signal.SIGINT:
        assert not [p for p in Path("front").iterdir() if p.name.startswith(".")]


def test_a_model_that_does_not_run_has_a_report_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Magic", ["h"], ["y"], domain="com.acme")]
    onnx.save(model_with(gaussian(64, 512), nodes), "magic.onnx")
    assert main(["magic.onnx", "o.onnx", "--quiet"]) == 0
    assert main(["report", "magic.onnx", "o.onnx", "--html", "r.html"]) == 0
    assert "so outputs were not compared" in " ".join(printed(capsys).split())
    assert "so outputs were not compared" in Path("r.html").read_text()
