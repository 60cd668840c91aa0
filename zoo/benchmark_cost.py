"""The cost model against measurements: latencies of the zoo, and dense against sparse kernels, on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from statistics import median

import numpy as np

from onnxsqueeze import cost as costs
from onnxsqueeze import zoo
from onnxsqueeze.cost import decoding
from onnxsqueeze.cost.calibrate import calibrate
from onnxsqueeze.cost.device import Device
from onnxsqueeze.cost.measure import seconds, session
from onnxsqueeze.cost.sparse import layers
from onnxsqueeze.encode import Encoded, Note, Pattern, Sharing, plans
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.zoo.benchmark_kernels import LAYERS, Layers, sessions
from onnxsqueeze.zoo.samples import sample_inputs

KINDS = ("Dense_P4", "Dense_H8", "Gaps_P4_Raw32", "Gaps_H8_Raw32", "Gaps_P4_P4", "Gaps_H8_P4", "Gaps_P4_H8",
         "Gaps_H8_H8", "NM_P2_P4", "NM_P2_H8", "NM_P2_Raw32")  # fmt: skip
TIE = 1.1  # decoders whose times differ by less are equal, as far as one measurement can tell
SECONDS = 1.5  # that a model is run
ROUNDS = 5  # by turns
ZEROS = (0.3, 0.5, 0.8, 0.9)


def cost(names: Sequence[str]) -> Iterator[str]:
    """Calibrates, then predicts and measures: one thread, its processor time, the best of many runs."""
    session(str(zoo.fetch("lenet-5")), 1, subnormals=False)  # the first session of a process decides for all
    found = calibrate(1)
    yield f"calibrated in {found.taken:.1f} s\n"
    yield from _latencies(names or zoo.names(), found.device)
    yield ""
    yield from _kernels(found.device)
    yield ""
    yield from _decoders(found.device)


def _latencies(names: Sequence[str], device: Device) -> Iterator[str]:
    """Each model on one sample."""
    from onnxsqueeze.zoo.benchmark import header, row

    yield header("model", "input", "10⁶ MACs", "measured ms", "predicted ms", "predicted / measured")
    errors = []
    for name in names:
        path, feed = zoo.fetch(name), sample_inputs(name, 1)[0]
        workload = costs.analyse(path, {key: values.shape for key, values in feed.items()})
        predicted = costs.estimate(workload, device).time.total
        opened = session(str(path), 1)
        measured = seconds(partial(opened.run, None, feed), SECONDS)
        errors.append(abs(predicted / measured - 1))
        shape = "×".join(map(str, next(iter(feed.values())).shape))
        times = f"{measured * 1e3:.3f}", f"{predicted * 1e3:.3f}", f"{predicted / measured:.2f}"
        yield row(name, shape, f"{workload.macs / 1e6:.1f}", *times)
    near = sum(error <= 0.2 for error in errors)
    yield f"\nmedian error {median(errors):.0%}; {near} of {len(errors)} models within 20 %"


def _kernels(device: Device) -> Iterator[str]:
    """Which of two ways to store a layer runs faster: dense in onnxruntime, or sparse in the execution provider."""
    from onnxsqueeze.zoo.benchmark import header, row

    yield header("layers", "zeros", "dense ms: measured, predicted", "sparse ms: measured, predicted", "ranking")
    told: list[str] = []
    for layer in LAYERS:
        for zeros in ZEROS:
            dense, sparse = _milliseconds(layer, zeros)
            found = list(layers(costs.analyse(layer.model(zeros, 0)), device))
            one = sum(item.dense_seconds for item in found) * 1e3
            other = sum(item.sparse_seconds or item.dense_seconds for item in found) * 1e3
            tie = dense[0] <= sparse[1] and sparse[0] <= dense[1]
            same = (dense[0] < sparse[0]) == (one < other)
            told.append("tie" if tie else "right" if same else "wrong")
            measured = ("{:.2f}–{:.2f}".format(*span) for span in (dense, sparse))
            cells = (f"{text}, {said:.2f}" for text, said in zip(measured, (one, other), strict=True))
            yield row(layer.name, f"{zeros:.0%}", *cells, told[-1])
    counts = {word: told.count(word) for word in ("right", "wrong", "tie")}
    yield (
        f"\nranking right in {counts['right']}, wrong in {counts['wrong']}; {counts['tie']} ties: "
        f"their intervals, from the best to the median of {ROUNDS} measurements, overlap"
    )


def _milliseconds(layer: Layers, zeros: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both ways, by turns: the best and the median of several measurements."""
    feed = layer.feed()
    opened = sessions(layer, zeros, 1)
    rounds = [[seconds(partial(each.run, None, feed), SECONDS / 12) for each in opened] for _ in range(ROUNDS)]
    dense, sparse = ((1e3 * min(times), 1e3 * median(times)) for times in zip(*rounds, strict=True))
    return dense, sparse


def _decoders(device: Device) -> Iterator[str]:
    """Which of two encodings of one weight is decoded sooner, over all pairs of encodings."""
    from onnxsqueeze.zoo.benchmark import header, row

    yield header("10⁶ values, zeros", "encoding: measured ms, predicted ms", "pairs right")
    right = total = 0
    for zeros in (0.0, 0.5, 0.9):
        times = [(kind, *_decode_milliseconds(encoded, device)) for kind, encoded in _encodings(zeros).items()]
        pairs = [(a, b) for a, b in combinations(times, 2) if max(a[1], b[1]) > TIE * min(a[1], b[1])]
        same = sum((a[1] < b[1]) == (a[2] < b[2]) for a, b in pairs)
        right, total = right + same, total + len(pairs)
        told = "; ".join(f"{kind}: {measured:.2f}, {predicted:.2f}" for kind, measured, predicted in times)
        yield row(f"{zeros:.0%}", told, f"{same} of {len(pairs)}")
    yield f"\nranking of encodings right in {right} of {total} pairs that differ by a tenth or more"


def _encodings(zeros: float) -> dict[str, Encoded]:
    """A weight of a million values with 15 different ones and zero, in the encodings that hold it."""
    random = np.random.default_rng(0)
    codebook = np.linspace(-1.5, 1.5, 15, dtype=np.float32)
    codebook = codebook[codebook != 0]
    values = codebook[np.clip(random.normal(7, 2.5, (1000, 1000)), 0, 13).astype(int)]
    values[random.random(values.shape) < zeros] = 0
    if zeros == 0.5:
        values.reshape(-1, 4)[:, random.permutation(4)[:2]] = 0
    sharing = Sharing(np.union1d(codebook, np.zeros(1, np.float32)))
    pattern = Pattern(2, 4, 1) if zeros == 0.5 else None
    found: dict[str, Encoded] = {}
    for note in (Note(None, pattern, True), Note(sharing, pattern, True)):
        found |= {kind: plan.build() for kind, plan in plans(values, note, KINDS).items() if kind in KINDS}
    return found


def _decode_milliseconds(encoded: Encoded, device: Device) -> tuple[float, float]:
    """Measured and predicted."""
    measured = seconds(partial(decode, encoded), SECONDS / 8)
    return 1e3 * measured, 1e3 * decoding.seconds(decoding.steps(encoded), device)
