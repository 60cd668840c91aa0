"""The README's commands and snippets do what it says; .ci/run runs the one that sets up and passes the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onnxsqueeze import zoo
from onnxsqueeze.passes import DEFAULT, PASSES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MARKED = re.findall(r"^<!-- run: (\w+) -->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for name, text in MARKED if name == kind]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A shell command in a folder, with this Python's scripts first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_command_is_marked_to_be_run() -> None:
    assert len(MARKED) == len(re.findall(r"^```(?:sh|python)$", README, re.MULTILINE))
    assert sorted(name for name, _ in MARKED) == ["job", "python", "python", "python", "shell", "tests"]


@pytest.mark.zoo
def test_the_main_job(tmp_path: Path) -> None:
    *set_up, job = blocks("job")[0].strip().split(" && ")
    assert set_up == ["python3 -m venv .venv", ".venv/bin/pip install -e ."]
    zoo.fetch(job.partition("zoo:")[2].split()[0])  # the test is skipped where this fails
    done = run(job.removeprefix(".venv/bin/"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small.onnx").stat().st_size > 0


def test_the_command_that_runs_the_tests() -> None:
    (command,) = blocks("tests")
    assert command.count("\n") == 1, "one line, which .ci/run reads from here"
    assert command.strip().endswith("-m pytest -q -n auto")


def test_shell_commands(tmp_path: Path) -> None:
    for command in blocks("shell")[0].splitlines():
        done = run(command, tmp_path)
        assert done.returncode == 0 and not done.stderr, f"{command}\n{done.stderr}"
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["smaller.onnx"] < sizes["small.onnx"] < sizes["dense.onnx"]
    reports = {"report.html", "report.md", "sweep.html"}
    assert set(sizes) == {"small.onnx", "smaller.onnx", "dense.onnx", "inlined.onnx"} | reports


def test_python_snippets(tmp_path: Path) -> None:
    code = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "x smaller" in done.stdout


def test_all_passes_are_in_the_table() -> None:
    section = README.partition("## Passes")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == list(PASSES)
    assert f"`{DEFAULT}`" in section
