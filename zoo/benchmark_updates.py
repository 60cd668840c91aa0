"""Benchmarks of what calibration samples are worth: the update's speed, N:M patterns, sparsity without retraining."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze import zoo
from onnxsqueeze.compress import compress
from onnxsqueeze.passes.criteria import Sparse
from onnxsqueeze.passes.surgeon import DAMPING, compensate, factor
from onnxsqueeze.zoo.benchmark import header, row
from onnxsqueeze.zoo.samples import sample_inputs
from onnxsqueeze.zoo.score import score

Array = npt.NDArray[Any]
SAMPLES = 64
PHOTOGRAPHS = 20  # that there are
BLOCK = 128


def surgeon(sizes: Sequence[str]) -> Iterator[str]:
    """The update at 50 % sparsity, against the same arithmetic's Cholesky decompositions and products alone."""
    yield header("layer", "NumPy and SciPy: seconds", "update: seconds", "ratio", "error over plain removal's")
    for size in map(int, sizes or ("1024", "2048", "4096")):
        rng = np.random.default_rng(0)
        inputs = rng.standard_normal((2 * size, size), np.float32)
        inputs += inputs @ rng.standard_normal((size, size), np.float32) / np.float32(3 * np.sqrt(size))
        moments = inputs.T @ inputs / np.float32(len(inputs))
        weights = rng.standard_normal((size, size), np.float32)
        peer, ours = [], []
        for _ in range(3):
            started = time.perf_counter()
            _peer(moments, weights)
            peer.append(time.perf_counter() - started)
            started = time.perf_counter()
            factors = factor(moments)
            made = compensate(weights, factors.upper, Sparse(weights, factors, 0.5).plan)
            ours.append(time.perf_counter() - started)
        plain = np.where(made == 0, 0, weights)
        errors = [float(np.einsum("oi,oi->", d @ moments, d)) for d in (made - weights, plain - weights)]
        best = min(peer), min(ours)
        yield row(
            f"{size} × {size}", *(f"{s:.2f}" for s in best), f"{best[1] / best[0]:.2f}", f"{errors[0] / errors[1]:.2f}"
        )


def _peer(moments: Array, weights: Array) -> None:
    """H = L Lᵀ, H⁻¹ = Uᵀ U, and each block's errors taken to all later columns."""
    from scipy.linalg import cholesky
    from scipy.linalg.lapack import spotri

    damped, left = moments.copy(), weights.copy()
    damped[np.diag_indices(len(damped))] += np.float32(DAMPING * np.diagonal(moments).mean())
    inverse, _ = spotri(cholesky(damped, lower=True, check_finite=False), lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    upper = cholesky(inverse, check_finite=False)
    for start in range(0, len(damped), BLOCK):
        end = start + BLOCK
        left[:, end:] -= left[:, start:end] @ upper[start:end, end:]


def patterns(names: Sequence[str]) -> Iterator[str]:
    """2:4 by magnitude and with the update: decisions that stay, on inputs that calibration has not seen."""
    yield header("model", "2:4 by", "decisions that stay", "relative error", "score before → after")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or ("ppocr-rec", "vit-s-focus"):
            steering, unseen = _parts(name)
            scored = bool(zoo.entry(name).score)
            before = f"{score(name, zoo.fetch(name)).value:.2f} → " if scored else ""
            for criterion in ("magnitude", "wanda", "obs"):
                output = Path(folder) / "out.onnx"
                text = f"prune{{granularity=2:4 criterion={criterion}}},huffman"
                compress(zoo.fetch(name), output, text, calibration=steering)
                stay, error = followed(zoo.fetch(name), output, unseen)
                after = f"{score(name, output).value:.2f}" if scored else ""
                yield row(name, criterion, f"{100 * stay:.1f} %", f"{error:.3f}", before + after)


def _parts(name: str) -> tuple[list[Any], list[Any]]:
    if name == "vit-s-focus":  # one order of all photographs, in two parts
        feeds = sample_inputs(name, PHOTOGRAPHS, 0)
        return feeds[: PHOTOGRAPHS // 2], feeds[PHOTOGRAPHS // 2 :]
    return sample_inputs(name, SAMPLES, 0), sample_inputs(name, SAMPLES, 1000)


def followed(original: Path, changed: Path, feeds: Sequence[Any]) -> tuple[float, float]:
    """Share of positions with the same largest class, and the relative error of the first output."""
    import onnxruntime

    runs = []
    for path in (original, changed):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        runs.append([np.asarray(session.run(None, feed)[0]) for feed in feeds])
    same = np.concatenate([(a.argmax(-1) == b.argmax(-1)).reshape(-1) for a, b in zip(*runs, strict=True)])
    first, second = (np.concatenate([value.reshape(-1) for value in run]) for run in runs)
    return float(same.mean()), float(np.linalg.norm(second - first) / np.linalg.norm(first))


def sparsity(names: Sequence[str]) -> Iterator[str]:
    """MNIST test error of the LeNets at high sparsity, without retraining, by criterion."""
    chosen = names or ("lenet-300-100", "lenet-5")
    yield header("prune", *(f"{name}: error" for name in chosen))
    yield row("(original)", *(f"{100 - score(name, zoo.fetch(name)).value:.2f} %" for name in chosen))
    with tempfile.TemporaryDirectory() as folder:
        for share in (0.8, 0.9):
            for criterion in ("magnitude", "wanda", "obd", "obs"):
                text, cells = f"prune{{sparsity={share} criterion={criterion}}},huffman", []
                for name in chosen:
                    output = Path(folder) / "out.onnx"
                    compress(zoo.fetch(name), output, text, calibration=sample_inputs(name, 16 * SAMPLES, 0))
                    cells.append(f"{100 - score(name, output).value:.2f} %")
                yield row(f"{share:.0%}, {criterion}", *cells)


TABLES = {"surgeon": surgeon, "patterns": patterns, "sparsity": sparsity}
