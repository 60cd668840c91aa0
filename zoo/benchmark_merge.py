"""Benchmark of merging: ``python -m onnxsqueeze.zoo.benchmark merge curve|fashion|speed``; no model is retrained."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxsqueeze import zoo
from onnxsqueeze.groups import analyse
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.zoo import data
from onnxsqueeze.zoo.benchmark import header, row

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WAYS = {
    "merge": "merge{{ratio={ratio}}}",
    "merge, pairs": "merge{{ratio={ratio} method=pairs}}",
    "merge, clusters": "merge{{ratio={ratio} method=clusters}}",
    "magnitude": "channels{{ratio={ratio} saliency=l1 multiple=1}}",
    "random": "channels{{ratio={ratio} saliency=random multiple=1}}",
}
MODES = (0.25, 0.5, 0.75, 1.0)
PUBLISHED = {0.5: (88.69, 88.40), 0.6: (86.92, 85.17), 0.7: (82.75, 71.26), 0.8: (80.02, 66.76)}
PUBLISHED_DENSE = 89.80
SEEDS = 5  # of random removal, and of training


def curve(arguments: Sequence[str]) -> Iterator[str]:
    """MNIST test error of LeNet-300-100 against the share of neurons removed; draws it where an SVG is named."""
    images, labels = data.mnist()
    path = zoo.fetch("lenet-300-100")
    dense = _error(onnx.load(path), images, labels)
    yield header("neurons removed", "parameters removed", *WAYS)
    yield row("0 %", "0 %", *[f"{dense:.2f}"] * len(WAYS))
    found: dict[str, list[tuple[float, float]]] = {way: [(0.0, dense)] for way in WAYS}
    for ratio in RATIOS:
        gone = 0.0
        for way, text in WAYS.items():
            errors = []
            for seed in range(SEEDS if way == "random" else 1):
                model = _passed(path, text.format(ratio=ratio), seed)
                errors.append(_error(model.proto, images, labels))
                gone = _gone(path, model)[1]
            found[way].append((ratio, float(np.mean(errors))))
        yield row(f"{100 * ratio:.0f} %", f"{100 * gone:.0f} %", *(f"{found[way][-1][1]:.2f}" for way in WAYS))
    marks = []
    yield "\n" + header("stopping rule", "neurons removed", "parameters removed", "test error")
    for mode in MODES:
        model = _passed(path, f"merge{{mode={mode}}}", 0)
        neurons, parameters = _gone(path, model)
        marks.append((neurons, _error(model.proto, images, labels)))
        yield row(f"{mode} x mode", f"{100 * neurons:.0f} %", f"{100 * parameters:.0f} %", f"{marks[-1][1]:.2f}")
    if arguments:
        Path(arguments[0]).write_text(_drawn(found, marks))


def _passed(source: Path | onnx.ModelProto, text: str, seed: int) -> Model:
    model = Model.load(source)
    for step in parse(text, PASSES):
        step(model, Context(seed=seed, jobs=2))
    return model


def _gone(path: Path, model: Model) -> tuple[float, float]:
    """The shares of hidden neurons and of parameters that were removed."""

    def counts(view: Model) -> tuple[int, int]:
        neurons = sum(group.width for group in analyse(view) if not group.is_output and group.blocked is None)
        return neurons, sum(weight.size for weight in view.weights(1))

    before, after = counts(Model.load(path)), counts(model)
    return 1 - after[0] / before[0], 1 - after[1] / before[1]


def _error(model: onnx.ModelProto, images: Any, labels: Any) -> float:
    """Test error in percent."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = session.run(None, {session.get_inputs()[0].name: images.astype(np.float32)[:, None] / 255})[0]
    return 100 * float((logits.argmax(1) != labels).mean())


def fashion(arguments: Sequence[str]) -> Iterator[str]:
    """LeNet-300-100 trained here on Fashion-MNIST (needs PyTorch): test accuracy at the ratios of Neuron Merging."""
    import torch

    from onnxsqueeze.zoo import train_lenet

    images, labels = data.fashion_mnist()
    ways = ("merge", "merge, pairs", "magnitude")
    cells: dict[str, list[list[float]]] = {way: [[] for _ in PUBLISHED] for way in ways}
    dense = []
    torch.set_num_threads(1)  # small products: two threads wait for each other more than they gain
    for seed in range(int(arguments[0]) if arguments else 1):
        torch.manual_seed(seed)
        net = train_lenet.lenet_300_100()
        error = train_lenet.train(net, 15, data.fashion_mnist)
        dense.append(100 - error)
        model = train_lenet.export(net, "lenet-300-100-fashion", error)
        for place, ratio in enumerate(PUBLISHED):
            for way in ways:
                smaller = _passed(model, WAYS[way].format(ratio=ratio), 0).proto
                cells[way][place].append(100 - _error(smaller, images, labels) - dense[-1])
    yield header("neurons removed", *ways, "Neuron Merging, published", "its magnitude, published")
    yield row("0 %", *[f"{np.mean(dense):.2f}"] * len(ways), *[f"{PUBLISHED_DENSE:.2f}"] * 2)
    for place, (ratio, published) in enumerate(PUBLISHED.items()):
        ours = (
            f"{np.mean(dense) + np.mean(found[place]):.2f} ({np.mean(found[place]):+.2f})" for found in cells.values()
        )
        theirs = (f"{value:.2f} ({value - PUBLISHED_DENSE:+.2f})" for value in published)
        yield row(f"{100 * ratio:.0f} %", *ours, *theirs)


def speed(arguments: Sequence[str]) -> Iterator[str]:
    """All merges of a layer of 4,096 neurons with 9,216 inputs, on two threads; random weights."""
    from onnxsqueeze.passes import merge_pairs

    random = np.random.default_rng(0)
    made = random.standard_normal((4096, 9216), np.float32)
    read = random.standard_normal((4096, 4096), np.float32)
    none = np.zeros((4096, 0), np.float32)
    yield header("differences", "merges", "processor seconds, both threads", "peak MB of the process")
    for factors in (False, True):
        started = time.process_time()
        found = merge_pairs.sequence(made, none, read, factors, Context(jobs=2))
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        yield row("with factors" if factors else "plain", len(found.gone), f"{seconds:.1f}", f"{peak:,.0f}")


def zoo_scores(names: Sequence[str]) -> Iterator[str]:
    """Scores of the zoo's models under the default of merge, and at one ratio for all groups together."""
    from onnxsqueeze.zoo.score import score

    texts = ("merge", "merge{error=0.05}", "merge{ratio=0.1 scope=global}", "channels{ratio=0.1 scope=global}")
    yield header("model", "score", *(f"`{text}`: units removed, score" for text in texts))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "small.onnx"
        for name in names or [n for n in zoo.names() if zoo.entry(n).score]:
            cells = []
            for text in texts:
                model = Model.load(zoo.fetch(name))
                count = sum(step(model, Context(jobs=2)) for step in parse(text, PASSES))
                model.save(target, external=False)
                cells.append(f"{count}, {score(name, target).value:.2f}")
            yield row(name, f"{score(name, zoo.fetch(name)).value:.2f}", *cells)


COLOURS = ("#1668b5", "#5aa9e6", "#3a9a66", "#c4502d", "#8a8a8a")
WIDTH, HEIGHT, EDGE, MOST = 640, 400, 50, 40.0  # pixels, and percent at the top


def _drawn(found: dict[str, list[tuple[float, float]]], marks: Sequence[tuple[float, float]]) -> str:
    """The curves as SVG, the stopping rule as points on them."""

    def at(ratio: float, error: float) -> tuple[float, float]:
        x = EDGE + (WIDTH - 2 * EDGE) * ratio
        return x, HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * min(error, MOST) / MOST

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']  # fmt: skip
    for step in range(11):
        x, y = at(step / 10, MOST * step / 10)
        base = HEIGHT - EDGE
        lines.append(f'<path d="M{x:.0f} {EDGE}V{base}M{EDGE} {y:.0f}H{WIDTH - EDGE}" stroke="#e5e5e5"/>')
        lines.append(f'<text x="{x:.0f}" y="{base + 16}" text-anchor="middle">{10 * step}</text>')
        lines.append(f'<text x="{EDGE - 6}" y="{y + 4:.0f}" text-anchor="end">{MOST * step / 10:.0f}</text>')
    for number, (way, points) in enumerate(found.items()):
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
        lines.append(f'<text x="{EDGE + 12}" y="{EDGE + 16 + 16 * number}" fill="{COLOURS[number]}">{way}</text>')
    for mode, point in zip(MODES, marks, strict=True):
        x, y = at(*point)
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[1]}" stroke="black"/>')
        lines.append(f'<text x="{x:.0f}" y="{y - 8:.0f}" text-anchor="middle" font-size="10">{mode}</text>')
    lines.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">neurons removed, %</text>')
    lines.append(
        f'<text x="{EDGE}" y="{EDGE - 14}">MNIST test error of LeNet-300-100, %; points: mode rule</text></svg>'
    )
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[Sequence[str]], Iterator[str]]] = {
    "curve": curve,
    "fashion": fashion,
    "speed": speed,
    "zoo": zoo_scores,
}
