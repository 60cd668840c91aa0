"""What calibration buys: the smallest file of each model within a loss, judged on inputs that calibration never saw."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxsqueeze import zoo
from onnxsqueeze.budget import Budget
from onnxsqueeze.calibration.trial import Trial
from onnxsqueeze.compress import compress
from onnxsqueeze.model import Model
from onnxsqueeze.zoo.samples import apart, sample_kind

LOSS, SAMPLES = 0.01, 64


def accuracy(names: Sequence[str]) -> Iterator[list[object]]:
    """Rows: model, ratio, loss held out, loss on other samples, score before and after, seconds."""
    from onnxsqueeze.zoo.score import score

    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        for name in names or [n for n in zoo.names() if zoo.entry(n).score]:
            source = zoo.fetch(name)
            samples, others = apart(name, SAMPLES)
            result = compress(source, output, calibration=samples, budget=Budget(max_loss=LOSS))
            unseen = Trial(Model.load(source), others, 2).loss(_dense(output))
            held = result.account.held_out_loss if result.account else ()
            scores = ""
            if zoo.entry(name).score:
                scores = f"{score(name, source).value:.2f} → {score(name, output).value:.2f}"
            worst = 100 * max((o.measured for o in held), default=0.0)
            ratios.append(result.ratio)
            cells = f"{result.ratio:.2f}x", f"{worst:.2f} %", f"{100 * unseen.measured:.2f} %"
            yield [f"{name} ({sample_kind(name)})", *cells, scores, f"{result.seconds:.0f}"]
    yield ["geometric mean", f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}x", "", "", "", ""]


def _dense(path: Path) -> Model:
    """A compressed model with its weights dense."""
    from onnxsqueeze.pipeline.unpack import unpack

    model = Model.load(path)
    if model.is_packed:
        unpack(model, 2)
    return model
