"""How the models of the zoo are opened, and inputs of several sizes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from onnxsqueeze.zoo.samples import sample_inputs

Feed = dict[str, np.ndarray[Any, Any]]
FIXED = ("silero", "lac")  # a stream's states, or lengths, depend on the batch


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 2
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(name: str, session: onnxruntime.InferenceSession) -> list[Feed]:
    """Honest inputs of different sizes, where sizes are free."""
    found = sample_inputs(name, 2, 0)[:2]
    first = found[0]
    if name == "ppocr-det":
        return [*found, {"x": first["x"][:, :, :320, :256]}]
    if name == "ppocr-rec":
        return [*found, {"x": first["x"][:, :, :, :200]}]
    if name.startswith(FIXED) or not all(i.shape and not isinstance(i.shape[0], int) for i in session.get_inputs()):
        return found
    return [*found, {key: np.concatenate([value, value]) for key, value in first.items()}]


def is_strict(model: onnx.ModelProto | Path) -> bool:
    """Whether onnx infers all shapes of the original; some operators it does not know."""
    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model, full_check=True)
    except Exception:
        return False
    return True
