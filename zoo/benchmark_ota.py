"""Benchmark of updates against bsdiff4 and ``zstd --patch-from``, on the same pairs of files, in one run."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from onnxsqueeze import zoo
from onnxsqueeze.compress import compress
from onnxsqueeze.ota import apply, diff
from onnxsqueeze.zoo.download import obtain
from onnxsqueeze.zoo.table import EARLIER

ENTROPY = "prune,share,huffman"
TUNED = ("lenet-5", "lenet-300-100")
REAL = ("ppocr-cls", "wake-embedding", "ppocr-det")
STEPS = (100, 1000)


@dataclass(frozen=True)
class Pair:
    """An installed file and the next one."""

    name: str
    change: str
    old: Path
    new: Path
    score: str = ""


def rows(names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """A row a pair: sizes of the new file and of each update, ours over the best of the others, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names or (*TUNED, *RELEASES, *REAL):
            for pair in (RELEASES | dict.fromkeys(TUNED, _tuned)).get(name, _changed)(name, Path(folder)):
                yield _row(pair, Path(folder))


def _row(pair: Pair, folder: Path) -> tuple[object, ...]:
    update, restored = folder / "update.osq", folder / "restored.onnx"
    started = time.perf_counter()
    ours = diff(pair.old, pair.new, update).nbytes
    ours_seconds = time.perf_counter() - started
    applied = apply(pair.old, update, restored).seconds
    if restored.read_bytes() != pair.new.read_bytes():
        raise AssertionError(f"{pair.name}, {pair.change}: not restored")
    others = {peer: make(pair.old, pair.new, folder) for peer, make in PEERS.items()}
    best = min(nbytes for nbytes, _ in others.values())
    sizes = [f"{nbytes:,}" for nbytes, _ in others.values()]
    seconds = f"{ours_seconds:.1f} / {applied:.1f} / " + " / ".join(f"{spent:.1f}" for _, spent in others.values())
    size = f"{pair.new.stat().st_size:,}"
    return pair.name, pair.change, pair.score, size, f"{ours:,}", *sizes, f"{ours / best:.3f}", seconds


def _bsdiff(old: Path, new: Path, folder: Path) -> tuple[int, float]:
    import bsdiff4

    started = time.perf_counter()
    nbytes = len(bsdiff4.diff(old.read_bytes(), new.read_bytes()))
    return nbytes, time.perf_counter() - started


def _zstd(old: Path, new: Path, folder: Path) -> tuple[int, float]:
    """The program at level 19, which reads the old file as a dictionary."""
    program = shutil.which("zstd")
    if program is None:
        raise FileNotFoundError("this benchmark needs the program zstd")
    out, started = folder / "patch.zst", time.perf_counter()
    command = [program, "-q", "-f", "-19", "--long=27", f"--patch-from={old}", str(new), "-o", str(out)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return out.stat().st_size, time.perf_counter() - started


PEERS: dict[str, Callable[[Path, Path, Path], tuple[int, float]]] = {"bsdiff4": _bsdiff, "zstd": _zstd}


def _tuned(name: str, folder: Path) -> Iterator[Pair]:
    """A LeNet that is trained further: dense, compressed on its own, compressed with the old codebooks."""
    old = zoo.fetch(name)
    packed = {passes: _compressed(old, folder / "old", passes) for passes in (None, ENTROPY)}
    for steps, head in ((STEPS[0], False), (STEPS[1], False), (STEPS[1], True)):
        new = fine_tuned(name, steps, head, folder / f"{name}-{steps}-{head}.onnx")
        what = f"{steps} steps" + (", last layer" if head else "")
        yield Pair(name, f"{what}: dense", old, new, _error(name, old, new))
        for passes, before in packed.items():
            text = "default" if passes is None else "psh"
            alone = _compressed(new, folder / "alone", passes)
            yield Pair(name, f"{what}: {text}", before, alone, _error(name, before, alone))
            kept = _compressed(new, folder / "kept", passes, before)
            yield Pair(name, f"{what}: {text}, `--ota-base`", before, kept, _error(name, before, kept))


def _released(name: str, folder: Path) -> Iterator[Pair]:
    """Each release of a model after the one before: dense, compressed on its own, compressed with the old codebooks."""
    files = [*(obtain(item) for item in EARLIER if item.package == name), zoo.fetch(name)]
    releases = [item.version for item in EARLIER if item.package == name] + [zoo.entry(name).version]
    for (old, before), (new, after) in pairwise(zip(files, releases, strict=True)):
        yield Pair(name, f"{before} to {after}: dense", old, new)
        installed = _compressed(old, folder / before, ENTROPY)
        yield Pair(name, f"{before} to {after}: psh", installed, _compressed(new, folder / "alone", ENTROPY))
        kept = _compressed(new, folder / "kept", ENTROPY, installed)
        yield Pair(name, f"{before} to {after}: psh, `--ota-base`", installed, kept)


def _changed(name: str, folder: Path) -> Iterator[Pair]:
    """Other changes: compressed for the first time, by other passes, and with the old codebooks."""
    dense = zoo.fetch(name)
    default, entropy = (_compressed(dense, folder / "real", passes) for passes in (None, ENTROPY))
    finer = _compressed(dense, folder / "finer", "prune,share{error=0.12},huffman")
    yield Pair(name, "dense to default", dense, default)
    yield Pair(name, "dense to psh", dense, entropy)
    yield Pair(name, "default to psh", default, entropy)
    yield Pair(name, "psh to a finer share", entropy, finer)


def _compressed(source: Path, stem: Path, passes: str | None, base: Path | None = None) -> Path:
    target = stem.with_name(f"{source.stem}-{stem.name}-{'default' if passes is None else 'psh'}.onnx")
    compress(source, target, passes=passes, ota_base=base)
    return target


def _error(name: str, old: Path, new: Path) -> str:
    """Test errors in percent before and after."""
    from onnxsqueeze.zoo.score import score

    before, after = (score(name, path).value for path in (old, new))
    return f"{before:.2f} → {after:.2f}"


def fine_tuned(name: str, steps: int, head: bool, path: Path) -> Path:
    """The LeNet after so many further steps of Adam (all layers, or the last one) on MNIST; deterministic."""
    import onnx
    import torch
    from onnx import numpy_helper

    from onnxsqueeze.zoo import train_lenet

    torch.manual_seed(1)
    model = onnx.load(zoo.fetch(name))
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    net: Any = {"lenet-5": train_lenet.lenet_5, "lenet-300-100": train_lenet.lenet_300_100}[name]()
    for number, layer in enumerate(net):
        for key, value in layer.named_parameters():
            value.data = weights[f"layer{number}.{key}"]
    train_lenet.tune(net, steps, list(net[-1].parameters() if head else net.parameters()))
    onnx.save(train_lenet.export(net, name, 0.0), path)
    return path


RELEASES: dict[str, Callable[[str, Path], Iterator[Pair]]] = {"silero-vad": _released}
