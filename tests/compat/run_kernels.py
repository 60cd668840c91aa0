"""Runs, in another environment, every model of a folder with native kernels and compares outputs.

``python run_kernels.py FOLDER LIBRARY``: ``x.onnx`` holds packed weights, ``x.operators`` the same in custom operators,
``x.npz`` inputs and outputs by name. Needs NumPy and onnxruntime alone. Ends with 1 where a value is off, or where no
kernel ran.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

NAME = "SqueezeExecutionProvider"
BOUND = 2e-6  # of the largest output
OLDEST = (1, 23, 1)  # with plugin providers
RELEASE = tuple(map(int, ort.__version__.split(".")[:3]))
BY_NAME = (1, 25, 1)  # providers=[NAME] works


def options(folder: str) -> ort.SessionOptions:
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.enable_profiling, made.profile_file_prefix = True, str(Path(folder) / "profile")
    return made


def with_provider(path: Path, folder: str) -> ort.InferenceSession:
    made = options(folder)
    made.add_session_config_entry(f"ep.{NAME.lower()}.kernel", "always")
    made.add_provider_for_devices([d for d in ort.get_ep_devices() if d.ep_name == NAME][:1], {})
    return ort.InferenceSession(str(path), made)


def by_name(path: Path, folder: str) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), options(folder), providers=[(NAME, {"kernel": "always"})])


def with_operators(path: Path, folder: str) -> ort.InferenceSession:
    made = options(folder)
    made.register_custom_ops_library(sys.argv[2])
    return ort.InferenceSession(str(path.with_suffix(".operators")), made, providers=["CPUExecutionProvider"])


def is_native(way: object, profile: str) -> bool:
    """Whether a node ran in the provider; custom operators could run nowhere else."""
    events = json.loads(Path(profile).read_text())
    return way is with_operators or any(e.get("args", {}).get("provider") == NAME for e in events)


def is_right(open_session: object, path: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, folder)
        arrays = dict(np.load(path.with_suffix(".npz")))
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, {i.name: arrays[i.name] for i in session.get_inputs()})
        native = is_native(open_session, session.end_profiling())
    wanted = [arrays[name] for name in names]
    return native and all(np.abs(f - w).max() <= BOUND * np.abs(w).max() for f, w in zip(found, wanted, strict=True))


def main() -> int:
    """Every model in every way that this release has."""
    ways = [with_operators]
    if RELEASE >= OLDEST:
        ort.register_execution_provider_library(NAME, sys.argv[2])
        ways.append(with_provider)
    if RELEASE >= BY_NAME:
        ways.append(by_name)
    failed = 0
    for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
        for way in ways:
            right = is_right(way, path)
            failed += not right
            sys.stdout.write(f"{ort.__version__} {path.name} {way.__name__}: {'right' if right else 'WRONG'}\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
