"""Packed models in other releases of onnxruntime, each in its own environment, and in WebAssembly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
from make_golden import FOLDER, NOTES
from packing import model_of
from test_contract import SOURCES

pytestmark = pytest.mark.slow

# The oldest release promised to readers, one near what the compiler itself needs, and the newest.
RELEASES = ("1.20.1", "1.23.2", "newest")
CACHE = Path(os.environ.get("ONNXSQUEEZE_COMPAT", Path(tempfile.gettempdir()) / "onnxsqueeze-compat"))
WEB = "onnxruntime-web@1.23.2"
OPSETS = {"1.20.1": (13, 21), "1.23.2": (13, 23), "newest": (13, 25)}


def python_with(release: str) -> Path:
    """The interpreter of an environment with this release, made where it is not there yet."""
    folder = CACHE / f"ort-{release}-py{sys.version_info.major}.{sys.version_info.minor}"
    requirement = "onnxruntime" if release == "newest" else f"onnxruntime=={release}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            requirement,
            "numpy",
        ]
        installed = subprocess.run(command, capture_output=True, text=True, check=False)
        if installed.returncode:
            pytest.skip(f"pip cannot install {requirement} here: {installed.stderr[-300:]}")
        done.touch()
    return python


def write_models(folder: Path, opsets: tuple[int, ...]) -> None:
    for name in NOTES:
        (folder / f"golden_{name}.onnx").write_bytes((FOLDER / "good" / f"{name}.onnx").read_bytes())
        np.savez(folder / f"golden_{name}.npz", y=np.load(FOLDER / "good" / f"{name}.npy"))
    for source, weights in SOURCES.items():
        for opset in opsets:
            path = folder / f"{source}_{opset}.onnx"
            onnx.save(model_of(weights(), opset), path)
            np.savez(path.with_suffix(".npz"), **{f"y{i}": dense for i, (_, dense) in enumerate(weights())})


@pytest.mark.parametrize("release", RELEASES)
def test_other_releases_of_onnxruntime_decode_the_same_bits(release: str, tmp_path: Path) -> None:
    write_models(tmp_path, OPSETS[release])
    command = [python_with(release), Path(__file__).with_name("run_models.py"), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("same bits") == 3 * len(list(tmp_path.glob("*.onnx")))


def modules_with_web() -> Path:
    """A ``node_modules`` with onnxruntime-web, made where it is not there yet."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node or npm is not installed")
    folder = CACHE / WEB.replace("@", "-")
    done = folder / "installed"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
            str(folder),
            WEB,
        ]
        installed = subprocess.run(command, capture_output=True, text=True, check=False)
        if installed.returncode:
            pytest.skip(f"npm cannot install {WEB} here: {installed.stderr[-300:]}")
        done.touch()
    return folder / "node_modules"


def test_webassembly_decodes_the_same_bits(tmp_path: Path) -> None:
    write_models(tmp_path, (17,))
    environment = os.environ | {"NODE_PATH": str(modules_with_web())}
    command = ["node", str(Path(__file__).with_name("run_models.cjs")), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    compared = 0
    for path in tmp_path.glob("*.npz"):
        expected = np.load(path)
        for name in expected.files:
            found = path.with_suffix(f".onnx.{name}.bin").read_bytes()
            assert found == expected[name].tobytes(), (path.stem, name)
            compared += 1
    assert compared == len(NOTES) + sum(len(weights()) for weights in SOURCES.values())
