"""Benchmark of channel removal: ``python -m onnxsqueeze.zoo.benchmark groups coverage|speed|channels|permute``.

Each prints one table; speeds are ratios of two models measured in turn in one run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxsqueeze import zoo
from onnxsqueeze.groups import analyse, coverage
from onnxsqueeze.groups.work import measured, totals
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.zoo import graphs
from onnxsqueeze.zoo.benchmark import header, row

CNNS = (
    "lenet-5",
    "ppocr-rec",
    "ppocr-det",
    "ppocr-cls",
    "open-nsfw",
    "tumor-vgg16",
    "efficientnet-lite0",
    "deepcut",
    "wake-embedding",
    "basic-pitch",
    "layout-cdla",
)
SHAPED: dict[str, Callable[[], onnx.ModelProto]] = {
    "alexnet": graphs.alexnet,
    "resnet50": graphs.resnet50,
    "squeezenet": graphs.squeezenet,
    "vgg16": graphs.vgg16,
}
Feed = dict[str, np.ndarray[Any, Any]]


def covered(names: Sequence[str]) -> Iterator[str]:
    """How much of every model can lose channels, and what keeps the rest."""
    yield header("model", "nodes", "groups", "channels", "removable", "parameters", "processor time", "the rest")
    for name in [name for name in names if name != "transformer"] or ([] if names else zoo.names()):
        yield _coverage(name, Model.load(zoo.fetch(name)))
    if not names or "transformer" in names:
        yield _coverage("transformer, 3,000 nodes (random weights)", Model.load(graphs.transformer(57)))


def _coverage(name: str, model: Model) -> str:
    started = time.process_time()
    groups = analyse(model)
    seconds = time.process_time() - started
    found = coverage(groups)
    rest = "; ".join(f"{count}: {_short(str(cause))}" for cause, count in found.blocked)
    return row(
        name,
        f"{len(groups.trace.steps):,}",
        len(groups),
        f"{found.channels:,}",
        f"{100 * found.share:.1f} %" if found.channels else "",
        f"{100 * found.parameter_share:.1f} %",
        f"{seconds:.2f} s",
        rest,
    )


def _short(text: str) -> str:
    kind, quote, rest = text.partition(" '")
    return f"{kind}{rest[rest.rfind(chr(39)) + 1 :]}" if quote else text


def speed(names: Sequence[str]) -> Iterator[str]:
    """Latency of the dense model that is left when half of the multiply-accumulates are gone; one thread."""
    yield header("model", "MMACs", "MACs left", "MB", "MB left", "faster", "over MACs removed")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or (*CNNS, *SHAPED):
            source, feed = _source(name, Path(folder))
            shapes = {key: value.shape for key, value in feed.items()}
            whole, target = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
            _passed(source, whole, "fold")
            _passed(source, target, "fold,channels{macs=0.5}")
            before, left = (_macs(path, shapes) for path in (whole, target))
            ratio = faster(whole, target, feed)
            yield row(
                name + (" (random weights)" if name in SHAPED else ""),
                f"{before / 1e6:,.1f}",
                f"{100 * left / before:.0f} %",
                f"{whole.stat().st_size / 1e6:.2f}",
                f"{target.stat().st_size / 1e6:.2f}",
                f"{ratio:.2f}x",
                f"{ratio * left / before:.2f}",
            )


def _passed(source: Path, target: Path, passes: str) -> None:
    model = Model.load(source)
    for step in parse(passes, PASSES):
        step(model, Context(jobs=2))
    model.save(target, external=False)


def _macs(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> float:
    model = Model.load(path)
    return sum(work.amount for work in totals(analyse(model), measured(model.proto, shapes)).macs)


def _source(name: str, folder: Path) -> tuple[Path, Feed]:
    """A model, and one input for it."""
    if name not in SHAPED:
        from onnxsqueeze.zoo.samples import sample_inputs

        return zoo.fetch(name), sample_inputs(name, 1, 0)[0]
    path = folder / f"{name}.onnx"
    onnx.save(SHAPED[name](), path)
    return path, {"image": np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)}


def faster(one: Path, other: Path, feed: Mapping[str, Any], rounds: int = 40) -> float:
    """How many times less processor time the second model takes, on one thread; both in turn, the best of each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    sessions = [onnxruntime.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in (one, other)]
    best = [float("inf")] * 2
    for _ in range(rounds):
        for number, session in enumerate(sessions):
            started = time.process_time()
            session.run(None, dict(feed))
            best[number] = min(best[number], time.process_time() - started)
    return best[0] / best[1]


def channels(names: Sequence[str]) -> Iterator[str]:
    """Scores when channels go, without data, and with compensation by least squares over calibration inputs."""
    from onnxsqueeze.zoo.score import score

    ratios = (0.1, 0.3, 0.5)
    yield header("model", "score", *(f"{100 * r:.0f} % of channels: without data / with" for r in ratios))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "small.onnx"
        for name in names or [n for n in zoo.names() if zoo.entry(n).score]:
            cells = []
            for ratio in ratios:
                found = []
                for feeds in (None, calibration(name)):
                    model = Model.load(zoo.fetch(name))
                    for step in parse(f"fold,channels{{ratio={ratio}}}", PASSES):
                        step(model, Context(calibration=feeds, jobs=2))
                    model.save(target, external=False)
                    found.append(f"{score(name, target).value:.2f}")
                cells.append(" / ".join(found))
            yield row(name, f"{score(name, zoo.fetch(name)).value:.2f}", *cells)


def calibration(name: str) -> tuple[Feed, ...]:
    """Inputs that the scorers do not use; the photographs are the same, there are no others."""
    from onnxsqueeze.zoo.samples import sample_inputs

    counts = {"lenet-300-100": 2000, "lenet-5": 2000, "basic-pitch": 8, "efficientnet-lite0": 20, "ppocr-det": 8}
    return tuple(sample_inputs(name, counts.get(name, 40), 7))


def permuted(names: Sequence[str]) -> Iterator[str]:
    """Magnitude that 2:4 pruning keeps, in the order of channels as it is and in a better one."""
    yield header("model", "kept, of the magnitude", "permuted", "of what was lost comes back", "seconds")
    for name in names or ("lenet-300-100", "ppocr-rec", "ppocr-det", "open-nsfw", "tumor-vgg16", "vit-s-focus"):
        kept, seconds = [], 0.0
        for text in ("fold", "fold,prune{granularity=2:4}", "fold,prune{granularity=2:4 permute=true}"):
            model = Model.load(zoo.fetch(name))
            started = time.perf_counter()
            for step in parse(text, PASSES):
                step(model, Context(jobs=2))
            seconds = time.perf_counter() - started
            kept.append(_magnitude(model))
        share = [value / kept[0] for value in kept[1:]]
        back = (kept[2] - kept[1]) / (kept[0] - kept[1])
        yield row(name, f"{100 * share[0]:.2f} %", f"{100 * share[1]:.2f} %", f"{100 * back:.1f} %", f"{seconds:.0f}")


def _magnitude(model: Model) -> float:
    weights = [w for w in model.weights(1024) if w.role in ("conv", "gemm", "matmul")]
    return sum(float(np.abs(weight.values()).sum()) for weight in weights)


TABLES: dict[str, Callable[[Sequence[str]], Iterator[str]]] = {
    "coverage": covered,
    "speed": speed,
    "channels": channels,
    "permute": permuted,
}
