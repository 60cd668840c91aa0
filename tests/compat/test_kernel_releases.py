"""The native kernels in other releases of onnxruntime, as a plugin provider and as custom operators."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from sparse_models import build, packed, sparse
from test_runtimes import python_with

from onnxsqueeze.pipeline.unpack import unpack_file
from onnxsqueeze.runtime import native

pytestmark = pytest.mark.slow

RELEASES = ("1.20.1", "1.22.1", "1.23.1", "1.24.4", "1.25.1", "1.27.0", "newest")


def models() -> dict[str, tuple[onnx.ModelProto, dict[str, np.ndarray]]]:
    """One of each kind, with inputs."""
    gemm = """(float[n,150] x) => (float[n,64] y) {
        h = MatMul(x, v)  a = Add(h, b)  r = Relu(a)  y = Gemm <transB=1> (r, w) }"""
    conv = """(float[n,16,9,9] x) => (float[n,16,9,9] y) {
        h = Conv <pads=[1,1,1,1]> (x, w, b)  s = Add(h, x)  y = Relu(s) }"""
    rows = "(int64[n] x) => (float[n,75] y) { y = Gather(w, x) }"
    line = sparse(3, 150, zeros=0)
    made = {
        "products": (build(gemm, v=sparse(150, 100), b=sparse(100, zeros=0), w=sparse(64, 100)), line),
        "shared": (build(gemm, v=sparse(150, 100, zeros=0, values=15), b=sparse(100), w=sparse(64, 100)), line),
        "convolution": (build(conv, w=sparse(16, 16, 3, 3), b=sparse(16, zeros=0)), sparse(2, 16, 9, 9, zeros=0)),
        "embedding": (build(rows, w=sparse(300, 75, zeros=0, values=15)), np.array([0, 299, 7], np.int64)),
    }
    return {name: (model, {"x": value}) for name, (model, value) in made.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("kernels")
    for name, (model, feed) in models().items():
        path = made / f"{name}.onnx"
        path.write_bytes(packed(model))
        unpack_file(path, made / "operators.onnx", "always")
        (made / "operators.onnx").rename(path.with_suffix(".operators"))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        np.savez(path.with_suffix(".npz"), y=session.run(None, feed)[0], **feed)
    return made


@pytest.mark.parametrize("release", RELEASES)
def test_kernels_in_other_releases(release: str, folder: Path) -> None:
    script = Path(__file__).with_name("run_kernels.py")
    command = [python_with(release), script, folder, native.library_path()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("right") == len(models()) * (1 if release < "1.23" else 2 if release < "1.25" else 3)
