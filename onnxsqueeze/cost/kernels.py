"""Rates of the kernels that work on packed and sparse weights: decoders of the native library, SciPy's CSR products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from onnxsqueeze.cost.measure import seconds
from onnxsqueeze.runtime import native

COUNT = 1 << 21  # values that are decoded
BUDGET = 0.08


def sparse_rates(peak: float, side: int = 1536, sparsity: float = 0.9) -> dict[str, float]:
    """MACs with nonzero weights a second of SciPy's CSR matrix times a vector and a matrix, as shares of the peak."""
    from scipy import sparse

    random = np.random.default_rng(0)
    matrix = sparse.random(side, side, 1 - sparsity, "csr", np.float32, random)
    vector, block = random.standard_normal(side, np.float32), random.standard_normal((side, 32), np.float32)
    one = matrix.nnz / seconds(lambda: matrix @ vector, BUDGET)
    many = matrix.nnz * block.shape[1] / seconds(lambda: matrix @ block, BUDGET)
    return {"sparse.csr": one / peak, "sparse.csr_matrix": many / peak}


def decode_rates() -> dict[str, float]:
    """Values (of Huffman streams: bits) a second of each step of decoding."""
    random = np.random.default_rng(0)
    indices = random.integers(0, 16, COUNT).astype(np.uint8)
    codebook = random.standard_normal(16, np.float32)
    payload, sizes = native.pack(indices, 4)
    values = codebook[indices]
    part = COUNT // 8
    steps = random.integers(1, 16, part).astype(np.uint8)
    total = int(steps.astype(np.int64).sum()) + 1
    scale = native.ChannelScale(codebook**2 + 1, indices[:1024], 1, COUNT // 1024)
    positions = np.tile(np.array([0, 2], np.uint8), COUNT // 4)
    fill = _rate(lambda: native.scatter_gaps(steps[:8], values[:8], COUNT), COUNT)
    gaps = seconds(lambda: native.scatter_gaps(steps, values[:part], total), BUDGET)
    raw = np.frombuffer(values.tobytes(), np.float32)
    return {
        "decode.read": _rate(raw.copy, COUNT),
        "decode.unpack": _rate(lambda: native.unpack(payload, sizes, 4, COUNT), COUNT),
        "decode.huffman": _huffman_rate(random),
        "decode.lookup": _rate(lambda: native.lookup(indices, codebook), COUNT),
        "decode.scale": _rate(lambda: native.rescale(values, scale), COUNT),
        "decode.fill": fill,
        "decode.scatter": part / max(gaps - total / fill, gaps / 4),
        "decode.group": _rate(lambda: native.scatter_nm(positions, values[: COUNT // 2], COUNT // 4, 4, 2), COUNT),
    }


def _rate(run: Callable[[], Any], count: int) -> float:
    return count / seconds(run, BUDGET)


def _huffman_rate(random: Any) -> float:
    """Bits a second of a Huffman stream of 4 to 5 bits a value."""
    from onnxsqueeze.encode.huffman import code_lengths

    values = np.clip(np.round(random.standard_normal(COUNT) * 4) + 16, 0, 31).astype(np.uint8)
    used, leaf, counts = np.unique(values, return_inverse=True, return_counts=True)
    lengths = code_lengths(counts, 12)
    order = np.lexsort((used, lengths))
    number = np.empty(len(order), np.uint8)
    number[order] = np.arange(len(order))
    payload, sizes, zeros, leaves, starts = native.huffman_encode(number[leaf], lengths[order].astype(np.uint8))
    decode = partial(native.huffman_decode, payload, sizes, zeros, leaves, starts, 0, COUNT)
    return 8 * len(payload) / seconds(decode, BUDGET)
