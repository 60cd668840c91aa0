"""Chinese news cut into words by people, and how lac-encoder's package reads characters and writes words."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from onnxsqueeze.zoo.data import Floats
from onnxsqueeze.zoo.download import obtain
from onnxsqueeze.zoo.table import LAC, NEWS

SHORTEST, LONGEST = 8, 60  # characters of a sentence


@cache
def news() -> tuple[tuple[str, ...], ...]:
    """Sentences of a newspaper (People's Daily, January 1998, in the order of the days), each as its words."""
    found = []
    for line in obtain(NEWS).read_text("utf-8").splitlines():
        words = tuple(tagged.rpartition("/")[0] for tagged in line.split())
        if SHORTEST <= len("".join(words)) <= LONGEST:
            found.append(words)
    return tuple(found)


def encoder_input(text: str) -> dict[str, NDArray[np.int64]]:
    """The encoder's feed for one sentence: numbers of its characters, wide forms as narrow ones."""
    narrow, numbers = _narrow(), _numbers()
    row = [numbers.get(narrow.get(character, character), numbers["OOV"]) for character in text]
    return {"token_ids": np.array([row], np.int64), "length": np.array([len(row)], np.int64)}


def words(text: str, emissions: Floats) -> list[str]:
    """The words of a sentence: the likeliest labels (Viterbi) of its characters, [characters, labels], cut them."""
    transitions, begins = _transitions(), _begins()
    scores, sources = emissions[0], []
    for emitted in emissions[1:]:
        paths = scores[:, None] + transitions
        sources.append(paths.argmax(axis=0))
        scores = paths.max(axis=0) + emitted
    label = int(scores.argmax())
    labels = [label]
    for source in reversed(sources):
        label = int(source[label])
        labels.append(label)
    cuts = [place for place, one in enumerate(reversed(labels)) if place == 0 or begins[one]]
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _rows(item: str) -> list[list[str]]:
    rows = (line.split("\t") for line in obtain(LAC[item]).read_text("utf-8").splitlines())
    return [row for row in rows if len(row) == 2]


@cache
def _numbers() -> dict[str, int]:
    return {character: int(number) for number, character in _rows("words")}


@cache
def _narrow() -> dict[str, str]:
    return {wide: narrow for wide, narrow in _rows("narrow")}


@cache
def _transitions() -> Floats:
    """How likely one label follows another one: [labels, labels]."""
    return np.asarray(np.load(obtain(LAC["transitions"])))


@cache
def _begins() -> dict[int, bool]:
    """For each label whether a word begins with it."""
    return {int(number): not label.endswith("-I") for number, label in _rows("labels")}
