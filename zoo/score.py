"""Scores of the zoo's models on labelled data: is a compressed model still as good as the original?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo import data, entry
from onnxsqueeze.zoo.chinese import encoder_input, news, words
from onnxsqueeze.zoo.download import obtain
from onnxsqueeze.zoo.samples import (
    classification_input,
    detection_input,
    digit_input,
    orientation_input,
    recognition_input,
    sample_inputs,
    sample_kind,
    speech_frames,
)
from onnxsqueeze.zoo.table import OCR_KEYS

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Score", "sample_inputs", "sample_kind", "score"]

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Score:
    """A measured quality: `value` in percent, higher is better, over `samples` of what the metric counts."""

    metric: str
    value: float
    samples: int


def score(name: str, model: str | Path | onnxruntime.InferenceSession, limit: int | None = None) -> Score:
    """Scores a model (a file, or anything that runs like a session) by the named zoo model's main metric.

    `limit` caps the samples; the data are the same at every call.
    """
    return scores(name, model, limit)[0]


def scores(name: str, model: str | Path | onnxruntime.InferenceSession, limit: int | None = None) -> list[Score]:
    """All metrics of the named zoo model, the main one first."""
    scorer = entry(name).score
    if scorer is None:
        raise ModelError(f"zoo model {name!r} has no score: no labelled data for it is within reach")
    return _SCORERS[scorer](_session(model), limit)


def _session(model: Any) -> Any:
    if not isinstance(model, str | Path):
        return model
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise ModelError(f"cannot open {str(model)!r} to score it: {str(error).splitlines()[0]}") from error


def _first(session: Any, feed: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(session.run([session.get_outputs()[0].name], feed)[0])


def _percent(part: float, whole: float) -> float:
    return float(100 * part / whole) if whole else 0.0


def _digits(session: Any, limit: int | None) -> list[Score]:
    images, labels = data.mnist()
    images, labels = images[:limit], labels[:limit]
    right = sum(
        int((_first(session, digit_input(images[at : at + 500])).argmax(1) == labels[at : at + 500]).sum())
        for at in range(0, len(images), 500)
    )
    return [Score("MNIST test accuracy", _percent(right, len(images)), len(images))]


def _images(session: Any, limit: int | None) -> list[Score]:
    photographs = data.photographs()[:limit]
    right = sum(_first(session, classification_input(photo)).argmax() == label for photo, label in photographs)
    return [Score("ImageNet top-1 accuracy on 20 photographs", _percent(right, len(photographs)), len(photographs))]


def _text(session: Any, limit: int | None) -> list[Score]:
    lines = data.lines(200 if limit is None else limit, seed=1)
    keys = [*obtain(OCR_KEYS[0]).read_text("utf-8").split("\n")[:-1], " "]
    read = [_decoded(_first(session, recognition_input(line.image))[0], keys) for line in lines]
    wrong = sum(_distance(text, line.text) for text, line in zip(read, lines, strict=True))
    total = sum(len(line.text) for line in lines)
    whole = sum(text == line.text for text, line in zip(read, lines, strict=True))
    return [
        Score("character accuracy on rendered lines", max(0.0, 100 - _percent(wrong, total)), total),
        Score("line accuracy on rendered lines", _percent(whole, len(lines)), len(lines)),
    ]


def _decoded(probabilities: NDArray[np.float32], keys: list[str]) -> str:
    """Greedy CTC: the best class of each step, repetitions merged, blanks (class 0) dropped."""
    return "".join(keys[best] for best, _ in groupby(probabilities.argmax(1)) if best)


def _distance(one: str, other: str) -> int:
    """Levenshtein's: insertions, deletions and replacements of one character."""
    row = list(range(len(other) + 1))
    for place, character in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, wanted in enumerate(other, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (character != wanted)),
            )
    return row[-1]


def _orientation(session: Any, limit: int | None) -> list[Score]:
    lines = data.lines(100 if limit is None else (limit + 1) // 2, seed=2)
    turned = [(turn, np.ascontiguousarray(np.rot90(line.image, 2 * turn))) for line in lines for turn in (0, 1)]
    right = sum(int(_first(session, orientation_input(image)).argmax()) == turn for turn, image in turned[:limit])
    return [
        Score(
            "orientation accuracy on rendered lines",
            _percent(right, len(turned[:limit])),
            len(turned[:limit]),
        )
    ]


def _voice(session: Any, limit: int | None) -> list[Score]:
    """Both silero files: the one with `state` goes frame by frame, the one with `h` and `c` all at once."""
    stepwise = any(value.name == "state" for value in session.get_inputs())
    run = _speech_by_frame if stepwise else _speech_by_sequence
    pairs = (
        (probability > 0.5, label)
        for number, voice in enumerate(data.voices())
        for probability, label in zip(run(session, voice.samples, number), voice.labels, strict=True)
        if label >= 0
    )
    judged = list(islice(pairs, limit))
    right = sum(bool(speech) == bool(label) for speech, label in judged)
    return [Score("speech frame accuracy", _percent(right, len(judged)), len(judged))]


def _speech_by_frame(session: Any, samples: data.Floats, number: int) -> Iterator[float]:
    """Recordings go in turn at 8 and at 16 kHz, for which this model has separate weights."""
    rate = (8000, 16000)[number % 2]
    state = np.zeros((2, 1, 128), np.float32)
    for frame in speech_frames(samples, rate):
        feed = {"input": frame[None], "state": state, "sr": np.array(rate, np.int64)}
        output, state = session.run(["output", "stateN"], feed)
        yield float(output[0, 0])


def _speech_by_sequence(session: Any, samples: data.Floats, number: int) -> Iterator[float]:
    state = np.zeros((1, 1, 128), np.float32)
    yield from session.run(["speech_probs"], {"input": speech_frames(samples), "h": state, "c": state})[0].ravel()


def _notes(session: Any, limit: int | None) -> list[Score]:
    found = true = both = 0
    tunes = [data.tune(1000 + number) for number in range(20 if limit is None else limit)]
    for tune in tunes:
        feed = {"serving_default_input_2:0": tune.samples[None, :, None]}
        heard = session.run(["StatefulPartitionedCall:1"], feed)[0][0] > 0.3
        found, true, both = found + heard.sum(), true + tune.keys.sum(), both + (heard & tune.keys).sum()
    return [Score("note frame F1 on synthesised chords", _percent(2 * both, found + true), len(tunes))]


def _detection(session: Any, limit: int | None) -> list[Score]:
    """A line counts as found when a detected region's box covers it by half (intersection over union)."""
    found = true = both = 0
    for number in range(5 if limit is None else limit):
        page = data.page(1000 + number)
        boxes = _regions(_first(session, detection_input(page.image))[0, 0])
        both += sum(any(_overlap(box, line) > 0.5 for box in boxes) for line in page.boxes)
        found, true = found + len(boxes), true + len(page.boxes)
    return [Score("text line F1 on rendered pages", _percent(2 * both, found + true), true)]


def _regions(probabilities: NDArray[np.float32]) -> list[Box]:
    """Boxes around connected pixels over 0.3, grown by what the detector was trained to shrink them."""
    from scipy import ndimage

    numbered, _ = ndimage.label(probabilities > 0.3)
    boxes = []
    for rows, columns in ndimage.find_objects(numbered):
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        if min(high, wide) >= 3:
            grow = round(1.5 * high * wide / (2 * (high + wide)))
            boxes.append((columns.start - grow, rows.start - grow, columns.stop + grow, rows.stop + grow))
    return boxes


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, wide) * max(0, high)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return common / (sum(areas) - common)


def _words(session: Any, limit: int | None) -> list[Score]:
    """A word counts as found where it has the same first and last character as one that people cut."""
    found = true = both = 0
    for judged in news()[1::2][: 400 if limit is None else limit]:  # of the half that is not calibrated on
        text = "".join(judged)
        given, told = (_spans(cut) for cut in (words(text, _first(session, encoder_input(text))[0]), judged))
        found, true, both = found + len(given), true + len(told), both + len(given & told)
    return [Score("word F1 on newspaper sentences", _percent(2 * both, found + true), true)]


def _spans(words: Sequence[str]) -> set[tuple[int, int]]:
    ends = list(accumulate(map(len, words)))
    return set(zip([0, *ends], ends, strict=False))


_SCORERS: dict[str, Callable[[Any, int | None], list[Score]]] = {
    "digits": _digits,
    "images": _images,
    "text": _text,
    "orientation": _orientation,
    "voice": _voice,
    "notes": _notes,
    "words": _words,
    "detection": _detection,
}
