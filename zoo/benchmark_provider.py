"""Whether a compressed model ever runs slower with the execution provider than without it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from onnxsqueeze import zoo

PIPELINES = ("fold,share,huffman", "fold,prune{sparsity=0.6}", "fold,prune{sparsity=0.8}", "fold,prune{sparsity=0.95}")
SECONDS, LEAST, MOST = 2.0, 9, 400  # of measuring a model; rounds
BOUND = 0.98  # a slower model counts as slower


def provider(names: Sequence[str]) -> Iterator[str]:
    """Each zoo model under several pipelines: latency in one thread, with the provider and without."""
    from onnxsqueeze.bench import calibrate
    from onnxsqueeze.runtime.profile import read_profile
    from onnxsqueeze.zoo.benchmark import header, row
    from onnxsqueeze.zoo.samples import sample_inputs

    if not read_profile():
        calibrate()
    yield header("model", "passes", "weights taken", "without ms", "with ms", "faster")
    slower = []
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        for name in names or zoo.names():
            feed = sample_inputs(name, 1)[0]
            for passes in PIPELINES:
                path = Path(folder) / "packed.onnx"
                total = _compress(name, passes, path)
                taken, times = measured(path, feed)
                if not taken:
                    yield row(name, f"`{passes}`", f"0 of {total}", "", "", "the same session")
                    continue
                without, with_ours = times
                if without / with_ours < BOUND:
                    slower.append(name)
                ours = f"{with_ours * 1e3:.2f}"
                yield row(
                    name,
                    f"`{passes}`",
                    f"{taken} of {total}",
                    f"{without * 1e3:.2f}",
                    ours,
                    f"{without / with_ours:.2f}x",
                )
    yield f"\nslower by more than 2 %: {', '.join(slower) or 'none'}"


def _compress(name: str, passes: str, path: Path) -> int:
    """Packs a model, without the verification that compressing it for use has; returns the number of packed weights."""
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes import PASSES
    from onnxsqueeze.pipeline import Context, parse
    from onnxsqueeze.pipeline.lower import lower
    from onnxsqueeze.pipeline.run import run

    model = Model.load(zoo.fetch(name))
    run(model, parse(passes, PASSES), PASSES, Context())
    lower(model, Context())
    model.save(path, external=False, durable=False)
    return sum(node.domain == "ai.onnxsqueeze" for node in model.proto.graph.node)


def measured(path: Path, feed: dict[str, Any], threads: int = 1) -> tuple[int, tuple[float, float]]:
    """Weights that stay packed with the provider; median seconds of a run without it and with it, by turns.

    With one thread, seconds are those of the thread: others of the machine do not count.
    """
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline.provided import provided
    from onnxsqueeze.runtime.profile import read_profile

    taken = len(provided(Model.load(path), "auto", read_profile()))
    if not taken:
        return 0, (0.0, 0.0)
    sessions = [_session(path, threads, providers) for providers in (["CPUExecutionProvider"], None)]
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + SECONDS
    for turn in range(MOST):
        for place in (0, 1) if turn % 2 else (1, 0):
            started = clock()
            sessions[place].run(None, feed)
            times[place].append(clock() - started)
        if turn >= LEAST and time.perf_counter() > end:
            break
    return taken, (median(times[0][1:]), median(times[1][1:]))


def _session(path: Path, threads: int, providers: list[str] | None) -> Any:
    import onnxruntime

    from onnxsqueeze.runtime import load

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # some inputs are full of them
    return load(path, options, providers)
