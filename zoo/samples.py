"""Honest inputs for every model of the zoo, prepared as the model's own package prepares them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxsqueeze.zoo import data, entry, fetch, texts
from onnxsqueeze.zoo.chinese import encoder_input, news
from onnxsqueeze.zoo.data import Floats
from onnxsqueeze.zoo.scans import slices
from onnxsqueeze.zoo.table import SCANS
from onnxsqueeze.zoo.thai import windows

if TYPE_CHECKING:
    from PIL.Image import Image

Feed = dict[str, NDArray[Any]]

SLAB = 16  # slices of a head that go together: next to one another they are alike
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def sample_inputs(name: str, count: int, seed: int = 0) -> list[Feed]:
    """`count` feeds (input name to array) of one sample each; the same seed gives the same feeds."""
    return _SAMPLES[entry(name).name][1](count, seed)


def apart(name: str, count: int) -> tuple[list[Feed], list[Feed]]:
    """`count` feeds to calibrate on and as many to judge on, made of other lines, digits and frames.

    Where there are few photographs, sentences or parts of heads, each list is made of others of them. Frames of speech
    come as batches of a second.
    """
    prepare = _APART.get(entry(name).name)
    if prepare is None:
        return sample_inputs(name, count, 0), sample_inputs(name, count, 1000)
    return prepare(0)(count, 0), prepare(1)(count, 1000)


def sample_kind(name: str) -> str:
    """What `sample_inputs` gives for this model, in a few words."""
    return _SAMPLES[entry(name).name][0]


def digit_input(images: NDArray[np.uint8]) -> Feed:
    """LeNet's feed for digits (n, 28, 28)."""
    return {"image": images[:, None].astype(np.float32) / 255}


def recognition_input(image: NDArray[np.uint8]) -> Feed:
    """PP-OCR recognition's feed for one line: 48 high, at least 320 wide, from -1 to 1, padded with 0."""
    width = math.ceil(48 * image.shape[1] / image.shape[0])
    pixels = _resized(image, width, 48)[:, :, ::-1] / np.float32(127.5) - 1
    return {"x": _planes(np.pad(pixels, ((0, 0), (0, max(0, 320 - width)), (0, 0))))}


def orientation_input(image: NDArray[np.uint8]) -> Feed:
    """PP-OCR orientation's feed for one line."""
    return {"x": _planes(_imagenet(_resized(image, 160, 80)[:, :, ::-1]))}


def detection_input(page: NDArray[np.uint8]) -> Feed:
    """PP-OCR detection's feed for a page whose sides are multiples of 32."""
    return {"x": _planes(_imagenet(page[:, :, ::-1].astype(np.float32)))}


def classification_input(photograph: Image) -> Feed:
    """EfficientNet-lite's feed for one photograph: its middle, 224 x 224, about -1 to 1."""
    side = min(photograph.size) * 224 / 256
    left, top = (photograph.width - side) / 2, (photograph.height - side) / 2
    middle = photograph.resize((224, 224), 3, box=(left, top, left + side, top + side))
    return {"image": _planes(np.asarray(middle, np.float32) / np.float32(128) - np.float32(127 / 128))}


def _resized(image: NDArray[np.uint8], width: int, height: int) -> Floats:
    pil = data.pillow()
    return np.asarray(pil.Image.fromarray(image).resize((width, height), pil.Image.Resampling.BILINEAR), np.float32)


def _imagenet(pixels: Floats) -> Floats:
    return (pixels / np.float32(255) - _IMAGENET_MEAN) / _IMAGENET_DEVIATION


def _planes(pixels: Floats) -> Floats:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def _lines(prepare: Callable[[NDArray[np.uint8]], Feed]) -> Callable[[int, int], list[Feed]]:
    return lambda count, seed: [prepare(line.image) for line in data.lines(count, seed)]


def _turned(count: int, seed: int) -> list[Feed]:
    """Every second line upside down."""
    lines = enumerate(data.lines(count, seed))
    return [orientation_input(np.ascontiguousarray(np.rot90(line.image, 2 * (i % 2)))) for i, line in lines]


def _pages(prepare: Callable[[NDArray[np.uint8]], Feed]) -> Callable[[int, int], list[Feed]]:
    return lambda count, seed: [prepare(data.page(seed + number).image) for number in range(count)]


def _photographs(prepare: Callable[[Image], Feed], half: int | None = None) -> Callable[[int, int], list[Feed]]:
    """Feeds of the twenty photographs (or of half of them) in a seeded order; beyond these, of parts of them, some
    mirrored."""

    def sample(count: int, seed: int) -> list[Feed]:
        photographs = [p for i, (p, _) in enumerate(data.photographs()) if half is None or i % 2 == half]
        random = np.random.default_rng(seed)
        order = random.permutation(len(photographs))
        chosen = (photographs[order[number % len(order)]] for number in range(count))
        return [prepare(p if number < len(order) else _part(p, random)) for number, p in enumerate(chosen)]

    return sample


def _part(photograph: Image, random: np.random.Generator) -> Image:
    """Two thirds to all of the width and height, anywhere; mirrored half of the time."""
    pil = data.pillow()
    width, height = (round(float(side * random.uniform(2 / 3, 1))) for side in photograph.size)
    left, top = (
        int(random.integers(1 + all_ - own)) for all_, own in zip(photograph.size, (width, height), strict=True)
    )
    part = photograph.crop((left, top, left + width, top + height))
    return part.transpose(pil.Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def _digits(count: int, seed: int) -> list[Feed]:
    images, _ = data.mnist(train=True)
    return [digit_input(images[[pick]]) for pick in np.random.default_rng(seed).integers(len(images), size=count)]


def _open_nsfw(photograph: Image) -> Feed:
    pixels = np.asarray(photograph.resize((256, 256), 2).crop((16, 16, 240, 240)), np.float32)
    return {"input:0": np.ascontiguousarray((pixels[:, :, ::-1] - np.array([104, 117, 123], np.float32))[None])}


def _heads(count: int, seed: int, half: int = 0) -> list[Feed]:
    """Slices of three heads, every second turned left to right; the other half is the slabs between."""
    found = [image for scan in SCANS for number, image in enumerate(slices(scan)) if number // SLAB % 2 == half]
    picks = np.random.default_rng(seed).integers(len(found), size=count)
    pixels = [np.asarray(found[pick].resize((240, 240)), np.float32) / 255 for pick in picks]
    return [{"input": (rows[:, ::-1] if number % 2 else rows)[None].copy()} for number, rows in enumerate(pixels)]


def _vit(photograph: Image) -> Feed:
    scale = 224 / max(photograph.size)
    small = photograph.resize((round(photograph.width * scale), round(photograph.height * scale)))
    square = np.zeros((224, 224, 3), np.float32)
    top, left = (224 - small.height) // 2, (224 - small.width) // 2
    square[top : top + small.height, left : left + small.width] = np.asarray(small)
    return {"input_image": _planes(_imagenet(square))}


def _layout(image: NDArray[np.uint8]) -> Feed:
    return {"image": detection_input(image)["x"]}


def speech_frames(samples: Floats, rate: int = 16000) -> Floats:
    """Frames of 32 ms for silero, each after the last 4 ms of the one before; 8 kHz is every other sample."""
    size = rate // 1000
    frames = samples[:: 16000 // rate].reshape(-1, 32 * size)
    before = np.concatenate([np.zeros((1, 4 * size), np.float32), frames[:-1, -4 * size :]])
    return np.concatenate([before, frames], axis=1)


def _silero(count: int, seed: int, together: int = 1) -> list[Feed]:
    """So many frames each, a batch, with the states that those before leave; in turn at 16 and at 8 kHz, for which the
    model has separate weights."""
    random, voices, model = np.random.default_rng(seed), data.voices(seed), _session("silero-vad")
    feeds: list[Feed] = []
    for number in range(count):
        rate = (16000, 8000)[number % 2]
        frames = speech_frames(voices[random.integers(len(voices))].samples, rate)
        end = int(random.integers(together, len(frames) + 1))
        feed: Feed = {"state": np.zeros((2, 1, 128), np.float32), "sr": np.array(rate, np.int64)}
        states = []
        for place in range(max(0, end - together - 32), end):
            states.append(feed["state"])
            feed["state"] = model.run(["stateN"], feed | {"input": frames[[place]]})[0]
        batch = np.concatenate(states[-together:], axis=1)
        feeds.append(feed | {"input": frames[end - together : end], "state": batch})
    return feeds


def _silero_sequence(count: int, seed: int) -> list[Feed]:
    state = np.zeros((1, 1, 128), np.float32)
    return [{"input": speech_frames(clip), "h": state, "c": state} for clip in _clips(count, seed, 32 * 512)]


def _clips(count: int, seed: int, length: int) -> list[Floats]:
    """Clips of speech (with its pauses) at 16 kHz."""
    random = np.random.default_rng(seed)
    voices = data.voices(seed)
    clips = []
    for _ in range(count):
        samples = voices[random.integers(len(voices))].samples
        start = random.integers(len(samples) // 2 - length)
        clips.append(samples[start : start + length])
    return clips


def _spectrogram(count: int, seed: int) -> list[Feed]:
    return [{"input": clip[None] * 32767} for clip in _clips(count, seed, 3 * 16000)]


def _embedding(count: int, seed: int) -> list[Feed]:
    mel = _session("wake-melspectrogram")
    outputs = [mel.run(None, feed)[0][0, 0] / 10 + 2 for feed in _spectrogram(count, seed)]
    return [{"input_1": output[:76, :, None][None].astype(np.float32)} for output in outputs]


def _wake(input_name: str, steps: int) -> Callable[[int, int], list[Feed]]:
    """Feeds of `steps` speech embeddings, 80 ms apart, made by the two models that come before."""

    def sample(count: int, seed: int) -> list[Feed]:
        mel, embedding = _session("wake-melspectrogram"), _session("wake-embedding")
        feeds = []
        for clip in _clips(count, seed, 16000 + 1280 * steps):
            spectrum = mel.run(None, {"input": clip[None] * 32767})[0][0, 0] / 10 + 2
            cut = np.stack([spectrum[8 * step : 8 * step + 76, :, None] for step in range(steps)])
            features = embedding.run(None, {"input_1": cut.astype(np.float32)})[0]
            feeds.append({input_name: features.reshape(1, steps, 96)})
        return feeds

    return sample


def _session(name: str) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(fetch(name), providers=["CPUExecutionProvider"])


def _chinese(count: int, seed: int, half: int = 0) -> list[Feed]:
    sentences = ["".join(words) for words in news()[half::2]]
    return [encoder_input(text) for text in _chosen(sentences, count, seed)]


def _thai(count: int, seed: int) -> list[Feed]:
    pairs = (windows(text) for text in _chosen(texts.THAI, count, seed))
    return [{"input_1": characters, "input_2": kinds} for characters, kinds in pairs]


def _stacked(count: int, seed: int) -> list[Feed]:
    """OSKut's second stage: deepcut's certainty and boundaries, in 4 of 21 columns, beside its inputs."""
    deepcut = _session("deepcut")
    feeds = []
    for feed in _thai(count, seed):
        start = deepcut.run(None, feed)[0].ravel()
        norm = np.hypot(start, 1 - start)
        entropy = -sum(part * np.log(np.clip(part, 1e-15, None)) for part in (start / norm, (1 - start) / norm))
        extra = np.zeros((len(start), 21), np.float32)
        extra[:, :4] = np.stack([entropy, start, start > 0.5, np.append(start[1:], 1) > 0.5], axis=1)
        feeds.append({"input1": feed["input_1"], "input2": feed["input_2"], "input3": extra})
    return feeds


def _chosen(sentences: Sequence[str], count: int, seed: int) -> list[str]:
    picks = np.random.default_rng(seed).integers(len(sentences), size=count)
    return [sentences[pick] for pick in picks]


def _music(count: int, seed: int) -> list[Feed]:
    return [{"serving_default_input_2:0": data.tune(seed + number).samples[None, :, None]} for number in range(count)]


_SAMPLES: dict[str, tuple[str, Callable[[int, int], list[Feed]]]] = {
    "lenet-300-100": ("MNIST training digits", _digits),
    "lenet-5": ("MNIST training digits", _digits),
    "ppocr-rec": ("rendered lines of text", _lines(recognition_input)),
    "ppocr-det": ("pages of rendered lines", _pages(detection_input)),
    "ppocr-cls": ("rendered lines of text, every second one upside down", _turned),
    "open-nsfw": ("ImageNet photographs", _photographs(_open_nsfw)),
    "tumor-vgg16": ("slices of heads", _heads),
    "vit-s-focus": ("ImageNet photographs", _photographs(_vit)),
    "efficientnet-lite0": ("ImageNet photographs", _photographs(classification_input)),
    "silero-vad": ("recorded speech and seeded noise, 16 and 8 kHz", _silero),
    "silero-vad-sequence": ("recorded speech, one second", _silero_sequence),
    "lac-encoder": ("sentences of Chinese news", _chinese),
    "deepcut": ("Thai sentences", _thai),
    "oskut-scads": ("Thai sentences, with deepcut's answers", _stacked),
    "wake-alexa": ("embeddings of recorded speech", _wake("onnx::Flatten_0", 16)),
    "wake-weather": ("embeddings of recorded speech", _wake("onnx::Flatten_0", 22)),
    "wake-timer": ("embeddings of recorded speech", _wake("onnx::Flatten_0", 34)),
    "wake-embedding": ("spectrograms of recorded speech", _embedding),
    "wake-melspectrogram": ("recorded speech", _spectrogram),
    "basic-pitch": ("synthesised chords", _music),
    "layout-cdla": ("pages of rendered lines", _pages(_layout)),
}

_APART: dict[str, Callable[[int], Callable[[int, int], list[Feed]]]] = {
    "open-nsfw": lambda half: _photographs(_open_nsfw, half),
    "tumor-vgg16": lambda half: lambda count, seed: _heads(count, seed, half),
    "vit-s-focus": lambda half: _photographs(_vit, half),
    "efficientnet-lite0": lambda half: _photographs(classification_input, half),
    "lac-encoder": lambda half: lambda count, seed: _chinese(count, seed, half),
    "silero-vad": lambda half: lambda count, seed: _silero(count, seed, together=32),  # a second
}
