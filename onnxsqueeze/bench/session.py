"""The ways to open a model, and what opening it takes, measured in a process of its own.

Run as a program it opens one model and prints seconds and bytes as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxsqueeze.errors import ModelError

WAYS = ("dense", "stock", "load", "provider")


@dataclass(frozen=True)
class Opened:
    """What it takes to create a session, imports left out."""

    seconds: float
    peak_nbytes: int  # resident memory over that before
    resident_nbytes: int  # of it, what stays


def open_session(way: str, path: str, threads: int, kernel: str = "auto", options: Any = None) -> Any:
    """An ``onnxruntime.InferenceSession``; ``threads`` 0 leaves their number to onnxruntime."""
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    if way in ("load", "provider"):
        from onnxsqueeze.runtime import load

        return load(path, options, None if way == "provider" else ["CPUExecutionProvider"], kernel=kernel)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def opened(way: str, path: Path, threads: int, kernel: str) -> Opened:
    """Opens a model in a fresh process; raises ModelError where that fails."""
    command = [sys.executable, "-m", __name__, way, str(path), str(threads), kernel]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ModelError(f"'{path.name}' does not open ({way}): {reason}")
    return Opened(**json.loads(done.stdout))


def memory() -> tuple[int, int]:
    """Peak and current resident bytes of this process (ru_maxrss would count the process that started it)."""
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return peak, peak
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))  # type: ignore[return-value]


def _main(arguments: Sequence[str]) -> None:
    import onnxruntime

    import onnxsqueeze.pipeline.unpack  # noqa: F401  # so that imports are not timed

    way, path, threads, kernel = arguments
    onnxruntime.set_default_logger_severity(4)
    before = memory()[1]
    started = time.perf_counter()
    session = open_session(way, path, int(threads), kernel)
    seconds = time.perf_counter() - started
    peak, resident = memory()
    sys.stdout.write(json.dumps(asdict(Opened(seconds, peak - before, resident - before))))
    del session


if __name__ == "__main__":
    _main(sys.argv[1:])
