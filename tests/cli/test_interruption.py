"""Ctrl-C, SIGTERM and SIGKILL at many moments: the old output stays whole, and nothing stays beside it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnx
import pytest

from onnxsqueeze.cli import main
from onnxsqueeze.pipeline.interrupts import held_back
from onnxsqueeze.pipeline.staging import staging

# Runs the command line; tells on stdout when it may be interrupted: what comes before is Python's own start.
RUN = """
import sys, onnxsqueeze.cli as cli
from onnxsqueeze.pipeline import interrupts
real = interrupts.interruptible
def told(*arguments):
    context = real(*arguments)
    class Told:
        def __enter__(self):
            context.__enter__()
            sys.stdout.write("ready\\n"); sys.stdout.flush()
        def __exit__(self, *rest):
            return context.__exit__(*rest)
    return Told()
interrupts.interruptible = told
sys.exit(cli.main(sys.argv[1:]))
"""


def started(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "in.onnx", "o.onnx", "--quiet", "--passes", "share{bits=4},huffman"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder / "scratch")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def prepared(folder: Path) -> Path:
    (folder / "scratch").mkdir()
    shutil.copy("in.onnx", "o.onnx")
    return folder


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.35, 0.5, 0.7])
def test_an_interrupted_run_leaves_nothing(prepared: Path, stop: signal.Signals, delay: float) -> None:
    old = Path("o.onnx").read_bytes()
    process = started(prepared)
    time.sleep(delay)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        onnx.load("o.onnx")
    else:
        assert (process.returncode, errors) == (130, "onnxsqueeze: interrupted\n")
    if process.returncode == 0 or errors == "":
        assert errors == ""
    elif Path("o.onnx").read_bytes() != old:
        onnx.load("o.onnx")  # it came after the output was put in place
    assert sorted(p.name for p in prepared.iterdir()) == ["in.onnx", "o.onnx", "scratch"]
    assert not [p for p in (prepared / "scratch").iterdir() if p.name != ".ses"]  # onnxruntime leaves .ses


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.45, 0.6])
def test_the_run_after_a_killed_one_cleans_up(prepared: Path, delay: float) -> None:
    old = Path("o.onnx").read_bytes()
    process = started(prepared)
    time.sleep(delay)
    process.kill()
    process.communicate(timeout=60)
    if Path("o.onnx").read_bytes() != old:
        onnx.load("o.onnx")
    assert {p.name for p in prepared.iterdir() if not p.name.startswith(".")} == {"in.onnx", "o.onnx", "scratch"}
    with staging(prepared / "o.onnx"):
        pass
    assert sorted(p.name for p in prepared.iterdir()) == ["in.onnx", "o.onnx", "scratch"]
    assert not [p for p in (prepared / "scratch").iterdir() if p.name != ".ses"]  # onnxruntime leaves .ses


def test_the_folder_of_a_living_run_is_left_alone(tmp_path: Path) -> None:
    with staging(tmp_path / "a.onnx") as first:
        code = "import sys; from pathlib import Path; from onnxsqueeze.pipeline.staging import staging\n"
        code += "with staging(Path(sys.argv[1])): pass"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.onnx")], check=True)
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".onnxsqueeze-link").symlink_to(elsewhere)
    (tmp_path / ".onnxsqueeze-file").touch()
    with staging(tmp_path / "a.onnx"):
        pass
    assert elsewhere.is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".onnxsqueeze-file", ".onnxsqueeze-link", "elsewhere"]


def test_signals_wait_while_files_are_put_in_place() -> None:
    steps = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            with held_back():
                signal.raise_signal(signal.SIGINT)
                steps.append("put")
            steps.append("not reached")
        assert steps == ["put"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


SCENES = {
    "held back": """
with held_back():
    signal.raise_signal(signal.SIGTERM)
    (folder / "put").write_text("in place")
(folder / "draft").write_text("not reached")
""",
    "in a destructor": """
class Dropping:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)  # Python drops exceptions here
Dropping()
(folder / "draft").write_text("not reached")
""",
    "while others write": """
def write():
    for number in range(10 ** 6):
        (folder / str(number)).write_text("scratch")
threading.Thread(target=write, daemon=True).start()
time.sleep(0.1)
signal.raise_signal(signal.SIGINT)
""",
}


@pytest.mark.parametrize("scene", SCENES)
def test_an_interruption_ends_the_process(scene: str, tmp_path: Path) -> None:
    code = f"""
import signal, sys, threading, time
from pathlib import Path
from onnxsqueeze.pipeline.interrupts import held_back, interruptible
from onnxsqueeze.pipeline.staging import staging, sweep
with interruptible("onnxsqueeze: interrupted", sweep), staging(Path("a.onnx")) as folder:
    {SCENES[scene].strip().replace(chr(10), chr(10) + "    ").replace('(folder / "put")', 'Path("put")')}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "onnxsqueeze: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == (["put"] if scene == "held back" else [])


def test_other_threads_may_compress(folder: Path) -> None:
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["in.onnx", "o.onnx", "--quiet"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_run_inside_of_native_code_ends_soon(tmp_path: Path) -> None:
    code = """
import ctypes, sys
from pathlib import Path
from onnxsqueeze.pipeline.interrupts import interruptible
from onnxsqueeze.pipeline.staging import staging, sweep
with interruptible("onnxsqueeze: interrupted", sweep), staging(Path(sys.argv[1])):
    print("ready", flush=True)
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)  # waits for ever, whatever signal comes
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.onnx")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # until it waits
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "onnxsqueeze: interrupted\n")
    assert list(tmp_path.iterdir()) == []
