"""Thresholds of Relu: what they cost in accuracy, how many zeros they make, and what skipping these gains."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxsqueeze import zoo

PRUNE = "prune{sparsity=0.9}"
SHARES = (None, 0.8, 0.9, 0.95)  # of zeros behind the thresholds; None: no thresholds
SAMPLES, IMAGES, ROUNDS = 64, 32, 40


def fatrelu(names: Sequence[str]) -> Iterator[str]:
    """Committed LeNets, pruned on training digits: test error, zeros, and microseconds of a run with one image."""
    from onnxsqueeze.bench import calibrate
    from onnxsqueeze.calibration.observe import observe, zeros
    from onnxsqueeze.compress import compress
    from onnxsqueeze.model import Model
    from onnxsqueeze.runtime.profile import read_profile
    from onnxsqueeze.zoo.benchmark import header, row
    from onnxsqueeze.zoo.samples import sample_inputs
    from onnxsqueeze.zoo.score import score

    if not read_profile():
        calibrate()
    yield header("model", "passes", "test error", "zeros behind Relu", "µs: never skipped", "always", "chosen")
    for name in names or ("lenet-300-100", "lenet-5"):
        feeds = [{key: value[:1] for key, value in feed.items()} for feed in sample_inputs(name, IMAGES, 1)]
        for share in SHARES:
            passes = PRUNE if share is None else f"{PRUNE},fatrelu{{sparsity={share}}}"
            with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
                path = Path(folder) / "out.onnx"
                compress(zoo.fetch(name), path, passes, calibration=sample_inputs(name, SAMPLES, 0))
                model = Model.load(path)
                values = [node.output[0] for node in model.proto.graph.node if node.op_type.endswith("Relu")]
                found = observe(model, values, feeds, zeros)
                told = ", ".join(f"{sum(shares) / len(shares):.0%}" for shares in found)
                error = f"{100 - score(name, path).value:.2f} %"
                never, always, chosen = _microseconds(path, feeds)
            yield row(name, f"`{passes}`", error, told, f"{never:.1f}", f"{always:.1f}", f"{chosen:.1f}")


def _microseconds(path: Path, feeds: Sequence[dict[str, Any]]) -> list[float]:
    """Least time of a run over all feeds, by turns: zeros never skipped, always, and where it is thought to pay."""
    import onnxruntime

    from onnxsqueeze.runtime import session_options

    sessions = []
    for skip in (False, True, None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        options.add_free_dimension_override_by_name("n", 1)
        sessions.append(
            onnxruntime.InferenceSession(str(path), session_options(options, skip_zeros=skip), enable_fallback=0)
        )
    best = [float("inf")] * len(sessions)
    for _ in range(ROUNDS):
        for place, session in enumerate(sessions):
            started = time.thread_time()
            for feed in feeds:
                session.run(None, feed)
            best[place] = min(best[place], (time.thread_time() - started) / len(feeds) * 1e6)
    return best
