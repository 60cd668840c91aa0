"""--work-dir: however a run ends, the next one goes on, to the same bytes as one that was never broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxsqueeze.cli import main
from onnxsqueeze.pipeline.store import MARK, Store

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,96] x) => (float[n,10] y) { h = MatMul(x, a)  r = Relu(h)  z = MatMul(r, b)  y = Softmax(z) }"""
BUDGETS = [("--max-loss", "2%"), ("--target-ratio", "9")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    model = parser.parse_model(MODEL)
    for name, shape in (("a", (96, 128)), ("b", (128, 10))):
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "in.onnx")
    mixed = rng.standard_normal((64, 8)) @ rng.standard_normal((8, 96))
    np.savez(tmp_path / "s.npz", x=mixed.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def squeeze(output: str, *more: str) -> int:
    return main(["in.onnx", output, "--calibration", "s.npz", "--quiet", *more])


class Broken(Exception):
    """Ends a run as an interruption would."""


@pytest.mark.parametrize("budget", BUDGETS)
def test_broken_off_after_every_so_many_results(
    folder: Path, budget: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert squeeze("whole.onnx", *budget) == 0
    write = Store._write
    left = 0

    def breaks(self: Any, path: Path, save: Any) -> None:
        nonlocal left
        if left == 0:
            raise Broken
        left -= 1
        write(self, path, save)

    monkeypatch.setattr(Store, "_write", breaks)
    for run in range(40):
        left = 9
        if squeeze("out.onnx", *budget, "--work-dir", "work", "--jobs", str(1 + run % 2)) == 0:
            break
        assert not Path("out.onnx").exists()
    assert 0 < run < 39
    assert Path("out.onnx").read_bytes() == Path("whole.onnx").read_bytes()


def test_killed_in_the_middle(folder: Path) -> None:
    assert squeeze("whole.onnx", "--max-loss", "2%") == 0
    command = [sys.executable, "-m", "onnxsqueeze.cli", "in.onnx", "out.onnx", "--calibration", "s.npz", "--quiet"]
    command += ["--max-loss", "2%", "--work-dir", "work"]
    for number in (signal.SIGINT, signal.SIGKILL):
        before = len(list(Path("work").glob("*"))) if Path("work").exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if Path("work").exists() and len(list(Path("work").glob("*.json"))) > before + 2:
                process.send_signal(number)
                break
            time.sleep(0.005)
        assert process.wait(60) in (130, -signal.SIGKILL, 0)
    subprocess.run(command, check=True, timeout=120)
    assert Path("out.onnx").read_bytes() == Path("whole.onnx").read_bytes()


def test_damaged_folders_change_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert squeeze("whole.onnx", "--max-loss", "2%", "--work-dir", "work") == 0
    rng = np.random.default_rng(1)
    for path in sorted(Path("work").glob("*-*")):
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 255
        path.write_bytes(data)
    capsys.readouterr()
    arguments = ["in.onnx", "out.onnx", "--calibration", "s.npz", "--max-loss", "2%", "--work-dir", "work", "--json"]
    assert main(arguments) == 0
    assert Path("out.onnx").read_bytes() == Path("whole.onnx").read_bytes()
    assert "were damaged, and made again" in capsys.readouterr().out


def test_results_of_other_inputs_are_not_taken(folder: Path) -> None:
    assert squeeze("first.onnx", "--max-loss", "2%", "--work-dir", "work") == 0
    model = onnx.load("in.onnx")
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, "a"))
    onnx.save(model, "in.onnx")
    assert squeeze("whole.onnx", "--max-loss", "2%") == 0
    assert squeeze("out.onnx", "--max-loss", "2%", "--work-dir", "work") == 0
    assert Path("out.onnx").read_bytes() == Path("whole.onnx").read_bytes()
    samples = np.load("s.npz")["x"]
    np.savez("s.npz", x=samples[::-1])
    assert squeeze("whole.onnx", "--max-loss", "2%") == 0
    assert squeeze("out.onnx", "--max-loss", "2%", "--work-dir", "work") == 0
    assert Path("out.onnx").read_bytes() == Path("whole.onnx").read_bytes()


def test_folders_that_are_none_of_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    for place, words in (("mine", "holds other files"), ("no/where", "create it first"), ("in.onnx", "cannot be used")):
        assert main(["in.onnx", "out.onnx", "--max-loss", "2%", "--work-dir", place]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
        assert main(["sensitivity", "in.onnx", "--work-dir", place]) == 1
        assert words in capsys.readouterr().err
    assert os.listdir("mine") == ["letter.txt"]  # noqa: PTH208
    assert not Path("out.onnx").exists() and not list(Path().glob(f"*/{MARK}"))
