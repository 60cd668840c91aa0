"""Runs, in another environment, every model of a folder and compares its outputs with the arrays beside it.

``python run_models.py FOLDER``: FOLDER holds pairs ``x.onnx`` (no inputs) and ``x.npz`` (outputs by name).
Needs NumPy and onnxruntime alone. Prints one line a model; ends with 1 where a bit differs.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

LEVELS = ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def differing(path: Path, level: str) -> list[str]:
    """Names of the outputs that are not what they should be."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {}), strict=True))
    expected = np.load(path.with_suffix(".npz"))
    assert sorted(names) == sorted(expected.files)
    return [
        name
        for name in names
        if outputs[name].dtype != expected[name].dtype or outputs[name].tobytes() != expected[name].tobytes()
    ]


def main() -> int:
    """Every model under every level."""
    failed = 0
    sys.stdout.write(f"onnxruntime {ort.__version__}\n")
    for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
        for level in LEVELS:
            wrong = differing(path, level)
            failed += len(wrong)
            sys.stdout.write(f"{path.name} {level}: {' '.join(wrong) or 'same bits'}\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
