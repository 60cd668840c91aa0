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
UNSEEN = 512  # samples to judge on: where each decides one thing, one of 64 is over 1 %


def accuracy(names: Sequence[str]) -> Iterator[list[object]]:
    """Rows: model, ratio, loss held out, loss on other samples, score before and after, seconds."""
    from onnxsqueeze.zoo.score import score

    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        for name in names or [n for n in zoo.names() if zoo.entry(n).score]:
            source = zoo.fetch(name)
            result = compress(source, output, calibration=apart(name, SAMPLES)[0], budget=Budget(max_loss=LOSS))
            held = result.account.held_out_loss if result.account else ()
            scores = ""
            if zoo.entry(name).score:
                scores = f"{score(name, source).value:.2f} → {score(name, output).value:.2f}"
            worst = 100 * max((o.measured for o in held), default=0.0)
            ratios.append(result.ratio)
            cells = f"{result.ratio:.2f}x", f"{worst:.2f} %", _unseen(name, source, output)
            yield [f"{name} ({sample_kind(name)})", *cells, scores, f"{result.seconds:.0f}"]
    yield ["geometric mean", f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}x", "", "", "", ""]


def _unseen(name: str, source: Path, output: Path) -> str:
    """The loss on samples of which calibration knows nothing, and its standard error."""
    lost = Trial(Model.load(source), apart(name, UNSEEN)[1], 2).loss(_dense(output))
    worst = max(lost.outputs, key=lambda output: output.measured)
    return f"{100 * worst.measured:.2f} ± {100 * worst.doubt:.2f} %"


def _dense(path: Path) -> Model:
    """A compressed model with its weights dense."""
    from onnxsqueeze.pipeline.unpack import unpack

    model = Model.load(path)
    if model.is_packed:
        unpack(model, 2)
    return model
