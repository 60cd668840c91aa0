"""Compresses a real model with the installed package, opens it in every way, compares. Leaves files in this folder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

import onnxsqueeze
import onnxsqueeze.runtime
from onnxsqueeze import zoo


def outputs(session: onnxruntime.InferenceSession) -> np.ndarray:
    """What the model makes of some fixed inputs."""
    (taken,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 8 for size in taken.shape]
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    return session.run(None, {taken.name: values})[0]


def stock(path: Path) -> np.ndarray:
    """Outputs in stock onnxruntime."""
    return outputs(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]))


def main() -> None:
    """Every step of a user's first hour."""
    assert Path(onnxsqueeze.__file__).is_relative_to(sys.prefix), "this is not the installed package"
    command = str(Path(sys.executable).with_name("onnxsqueeze"))
    original = stock(zoo.fetch("lenet-5"))
    for name in ("lenet-300-100", "lenet-5"):
        subprocess.run([command, f"zoo:{name}", f"{name}.onnx"], check=True)
    subprocess.run([command, "unpack", "lenet-5.onnx", "dense.onnx"], check=True)
    assert Path("lenet-5.onnx").stat().st_size * 5 < zoo.fetch("lenet-5").stat().st_size
    small = stock(Path("lenet-5.onnx"))
    assert np.array_equal(small, stock(Path("dense.onnx"))), "unpacked weights differ"
    native = onnxsqueeze.runtime.load("lenet-5.onnx", providers=["CPUExecutionProvider"])
    assert np.array_equal(small, outputs(native)), "native weights differ"
    provided = outputs(onnxsqueeze.runtime.load("lenet-5.onnx"))
    assert np.allclose(small, provided, atol=1e-4), "the execution provider differs"
    error = float(np.linalg.norm(small - original) / np.linalg.norm(original))
    assert error < 0.1, f"relative error {error}"
    assert np.array_equal(small.argmax(axis=1), original.argmax(axis=1))
    sys.stdout.write(f"smoke test: relative error {error:.4f}, three ways to open it agree to the bit\n")


if __name__ == "__main__":
    main()
