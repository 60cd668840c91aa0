"""What others take for the same layers: MatMulNBits of onnxruntime, SciPy's sparse matrices, and deepsparse."""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROUNDS = 9
BLOCK = 32  # weights that share a scale
FLOAT32, INT8 = 1, 4  # accuracy levels: inputs as they are; inputs become integers, too, which is the fastest
DEEPSPARSE = "deepsparse==1.8.0"
MOST_SECONDS = 120.0

# Runs in deepsparse's own environment: path of the model, path of its input, threads.
DEEPSPARSE_RUN = """
import sys, time, numpy as np
from deepsparse import Engine
engine = Engine(sys.argv[1], batch_size=1, num_cores=int(sys.argv[3]))
value, best = [np.load(sys.argv[2])], 1e9
for _ in range(25):
    started = time.perf_counter()
    engine.run(value)
    best = min(best, time.perf_counter() - started)
print("seconds", best)
"""


def nbits_seconds(
    count: int, weight: tuple[int, ...], value: NDArray[np.float32], bits: int, level: int = INT8
) -> float:
    """Least seconds of a run of MatMulNBits with random weights of so many bits, in one thread."""
    import onnxruntime

    rng = np.random.default_rng(0)
    outputs, inputs = weight
    nodes, tensors = [], []
    for number in range(count):
        packed = rng.integers(0, 256, (outputs, inputs // BLOCK, BLOCK * bits // 8), np.uint8)
        scales = np.full(outputs * inputs // BLOCK, 0.01, np.float32)
        tensors += [numpy_helper.from_array(packed, f"w{number}"), numpy_helper.from_array(scales, f"s{number}")]
        names = ["x" if number == 0 else f"y{number - 1}", f"w{number}", f"s{number}"]
        sizes: dict[str, Any] = {"K": inputs, "N": outputs, "bits": bits, "block_size": BLOCK, "accuracy_level": level}
        nodes.append(helper.make_node("MatMulNBits", names, [f"y{number}"], domain="com.microsoft", **sizes))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, value.shape)
    wanted = helper.make_tensor_value_info(f"y{count - 1}", TensorProto.FLOAT, (len(value), outputs))
    graph = helper.make_graph(nodes, "layers", [given], [wanted], tensors)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    data = helper.make_model(graph, opset_imports=domains, ir_version=8).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return _least(lambda: session.run(None, {"x": value}))


def csr_seconds(dense: onnx.ModelProto, value: NDArray[np.float32]) -> float:
    """Least seconds of products of compressed sparse rows in SciPy, which uses one thread."""
    from scipy.sparse import csr_matrix

    matrices = [csr_matrix(numpy_helper.to_array(tensor)) for tensor in dense.graph.initializer]
    columns = np.ascontiguousarray(value.T if len(value) > 1 else value[0])

    def run() -> None:
        result = columns
        for matrix in matrices:
            result = matrix @ result

    return _least(run)


def _least(run: Any) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        run()
        best = min(best, time.thread_time() - started)
    return best


def deepsparse_seconds(path: Path, feed: Mapping[str, Any], threads: int) -> float | None:
    """Least seconds of a run by the clock, in a process of its own; None where it is missing or refuses the model."""
    python = _deepsparse()
    if python is None:
        return None
    value = path.with_suffix(".npy")
    np.save(value, next(iter(feed.values())))
    command = [str(python), "-c", DEEPSPARSE_RUN, str(path), str(value), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    words = done.stdout.split()
    return float(words[-1]) if done.returncode == 0 and words[-2:-1] == ["seconds"] else None


@cache
def _deepsparse() -> Path | None:
    """The interpreter of an environment with deepsparse, made at the first call; None where that fails."""
    from onnxsqueeze.runtime.profile import cache_folder

    folder = cache_folder() / f"{DEEPSPARSE}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", DEEPSPARSE]
        if subprocess.run(command, capture_output=True).returncode:
            sys.stderr.write(f"pip cannot install {DEEPSPARSE} here: its column stays empty\n")
            return None
        done.touch()
    return python
