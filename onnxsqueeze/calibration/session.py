"""Runs models in stock onnxruntime, as they are and with values inside them as outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.errors import ModelError

Array = npt.NDArray[Any]
FATAL = 4  # onnxruntime's log severity; what goes wrong comes as an exception


def open_session(model: Any, threads: int, what: str = "the model") -> Any:
    """A session on a path or on bytes; raises ModelError."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(FATAL)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = FATAL, threads
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise ModelError(f"onnxruntime does not open {what} to calibrate it: {_first_line(error)}") from error


def run(session: Any, names: Sequence[str] | None, feed: Mapping[str, Any]) -> list[Array]:
    """The named outputs, or all; raises ModelError."""
    try:
        found: list[Array] = session.run(None if names is None else list(names), dict(feed))
    except Exception as error:
        raise ModelError(f"onnxruntime does not run the calibration samples: {_first_line(error)}") from error
    return [np.asarray(value) for value in found]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
