"""Which kernel ran each packed weight, why, and how long it took: the provider's account and onnxruntime's profile."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

KERNEL_TIME = "_kernel_time"  # what the profile adds to the name of a node


@dataclass(frozen=True)
class Layer:
    """What became of one packed weight in a session with the provider."""

    weight: str
    op_type: str  # what it feeds; "" where that is several nodes
    kernel: str  # "" where onnxruntime runs it, dense
    reason: str  # why this one, or none
    seconds: float | None  # of a run, measured by onnxruntime's profiler; None where onnxruntime runs it
    input_zeros: float | None = None  # share of the input's elements that are zero, for sparse products
    skipping_seconds: float | None = None  # of a run that skips these, for sparse products


def layers(path: Path, feeds: Sequence[dict[str, Any]], threads: int, kernel: str, folder: Path) -> list[Layer]:
    """Runs the model with the provider, profiled; files are written into ``folder``.

    Where there are sparse products, it runs a second time, skipping the zeros of their inputs.
    """
    found = _profiled(path, feeds, threads, kernel, folder, None)
    if not any(map(_may_skip, found)):
        return found
    skipping = {layer.weight: layer.seconds for layer in _profiled(path, feeds, threads, kernel, folder, True)}
    zeros = _input_zeros(path, {layer.weight for layer in found if _may_skip(layer)}, feeds)
    return [
        replace(layer, input_zeros=zeros[layer.weight], skipping_seconds=skipping[layer.weight])
        if layer.weight in zeros
        else layer
        for layer in found
    ]


def _may_skip(layer: Layer) -> bool:
    return layer.kernel.startswith("sparse") and layer.op_type in ("Gemm", "MatMul")


def _input_zeros(path: Path, weights: set[str], feeds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Weights of the main graph to the mean share of zeros among what they are multiplied with."""
    from onnxsqueeze.calibration.observe import observe, zeros
    from onnxsqueeze.model import Model

    model = Model.load(path)
    fed = {node.input[1]: node.input[0] for node in model.proto.graph.node if len(node.input) > 1}
    names = [weight for weight in weights if weight in fed]
    found = observe(model, [fed[name] for name in names], feeds, zeros)
    return {name: sum(shares) / len(shares) for name, shares in zip(names, found, strict=True)}


def _profiled(
    path: Path, feeds: Sequence[dict[str, Any]], threads: int, kernel: str, folder: Path, skip_zeros: bool | None
) -> list[Layer]:
    import onnxruntime

    from onnxsqueeze.runtime import session_options

    account = folder / f"account-{skip_zeros}.jsonl"
    account.touch()
    options = session_options(kernel=kernel, skip_zeros=skip_zeros, account=account)
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = onnxruntime.InferenceSession(str(path), options, enable_fallback=0)
    session.run(None, feeds[0])  # warms up; its times are taken out below
    for feed in feeds:
        session.run(None, feed)
    times = _times(Path(session.end_profiling()))
    return [_layer(line, times) for line in _decisions(account)]


def _times(profile: Path) -> dict[str, list[float]]:
    """Node to the seconds of its runs."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in json.loads(profile.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL_TIME):
            times[event["name"].removesuffix(KERNEL_TIME)].append(event["dur"] / 1e6)
    return times


def _decisions(account: Path) -> list[dict[str, str]]:
    """The last word on each weight: onnxruntime asks more than once, and what was taken over stays so."""
    last: dict[str, dict[str, str]] = {}
    for line in account.read_text(encoding="utf-8", errors="replace").splitlines():
        decision = json.loads(line)
        if not last.get(decision["weight"], {}).get("kernel"):
            last[decision["weight"]] = decision
    return list(last.values())


def _layer(decision: dict[str, str], times: dict[str, list[float]]) -> Layer:
    runs = times.get(decision["node"], [])[1:] if decision["node"] else []
    seconds = sorted(runs)[len(runs) // 2] if runs else None
    return Layer(decision["weight"], decision["op_type"], decision["kernel"], decision["reason"], seconds)
