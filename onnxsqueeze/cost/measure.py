"""Times of models in onnxruntime, as undisturbed as a busy machine lets them be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

FATAL = 4  # onnxruntime's log severity
FEWEST, MOST = 5, 400  # runs


def session(model: Any, threads: int, subnormals: bool = True) -> Any:
    """A session of stock onnxruntime on a path or on a model's bytes.

    ``subnormals``: False takes the smallest numbers as zero, with which processors work much faster; it counts where
    the first session of a process says it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if not subnormals:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def seconds(run: Callable[[], Any], budget: float, threads: int = 1) -> float:
    """The shortest of as many runs as fit the budget (in seconds).

    With one thread it is that thread's processor time, which other programs on the machine do not count into; with
    more it is the time that passes.
    """
    clock = time.thread_time if threads == 1 else time.perf_counter
    run()
    best, started = math.inf, time.perf_counter()
    for count in range(MOST):
        before = clock()
        run()
        best = min(best, clock() - before)
        if count + 1 >= FEWEST and time.perf_counter() - started > budget:
            break
    return best
