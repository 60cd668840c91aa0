"""Rates of what works on packed weights: the native library's decoders, the execution provider's sparse kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from onnxsqueeze.cost.measure import FATAL, seconds
from onnxsqueeze.cost.probes import OPSET
from onnxsqueeze.encode import Note, Pattern, plans, smallest
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.nodes import to_node
from onnxsqueeze.runtime import native, provider

COUNT = 1 << 21  # values that are decoded
BUDGET = 0.08


@dataclass(frozen=True)
class _Sparse:
    """A product with a weight of which a share is zero."""

    constant: str  # the kernel's, in section ``sparse``
    weight: tuple[int, ...]
    data: tuple[int, ...]  # the input


ZEROS, FEWER = 0.9, 0.5
SPARSE = (
    _Sparse("csr", (1024, 1024), (1, 1024)),
    _Sparse("csr_matrix", (768, 768), (64, 768)),
)
CONVOLUTION = _Sparse("csr_conv", (128, 128, 3, 3), (1, 128, 28, 28))


def sparse_rates(peak: float, start: float, threads: int) -> dict[str, float]:
    """MACs with nonzero weights a second of the execution provider's kernels, as shares of the peak.

    A convolution also gathers the inputs under its kernel, whatever the weight's zeros (``sparse.csr_gather``, seconds
    each): it runs with two shares of zeros, which tell the one from the other. ``start``: seconds of a run that does
    nothing. Empty where this onnxruntime takes no execution provider; then nothing runs sparse on it.
    """
    if not provider.is_available():
        return {}
    found = {}
    for case in SPARSE:
        taken, macs = _sparse_seconds(case, ZEROS, threads)
        found[f"sparse.{case.constant}"] = macs / max(taken - start, taken / 4) / peak
    (few, fewer_macs), (many, more_macs) = (_sparse_seconds(CONVOLUTION, zeros, threads) for zeros in (ZEROS, FEWER))
    each = max(many - few, many / 4) / (more_macs - fewer_macs)
    gathered = math.prod(CONVOLUTION.weight[1:]) * math.prod(CONVOLUTION.data[2:])
    return found | {
        f"sparse.{CONVOLUTION.constant}": 1 / each / peak,
        "sparse.csr_gather": max(few - start - fewer_macs * each, few / 100) / gathered,
    }


def _sparse_seconds(case: _Sparse, zeros: float, threads: int) -> tuple[float, int]:
    """The time of a run, and its MACs with nonzero weights."""
    random = np.random.default_rng(0)
    values = random.standard_normal(case.weight, np.float32)
    values[random.random(case.weight) < zeros] = 0
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = FATAL, threads
    options = provider.session_options(options, kernel="always")
    opened = onnxruntime.InferenceSession(packed_product(values, case.data).SerializeToString(), options)
    feeds = {"x": random.standard_normal(case.data, np.float32)}
    positions = case.data[0] * math.prod(case.data[2:])
    taken = seconds(lambda: opened.run(None, feeds), BUDGET, threads)
    return taken, int(np.count_nonzero(values)) * positions


def packed_product(values: Any, data: tuple[int, ...]) -> onnx.ModelProto:
    """A model of one Gemm or Conv whose weight is packed."""
    encoded = smallest(values, Note())
    if encoded is None:
        raise ValueError("the weight has no smaller encoding")
    node, tensors = to_node(encoded, "w", "0.")
    kind = {"pads": [values.shape[-1] // 2] * 4} if values.ndim == 4 else {"transB": 1}
    product = helper.make_node("Conv" if values.ndim == 4 else "Gemm", ["x", "w"], ["y"], **kind)
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, data)
    wanted = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([node, product], "sparse", [given], [wanted], tensors)
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    body = function(encoded.op_type, OPSET)
    return helper.make_model(graph, functions=[body], opset_imports=imports, ir_version=8)


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
        "decode.group": _group_rate(random),
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


def _group_rate(random: Any, side: int = 1024) -> float:
    """Values a second of a weight of pattern 2:4."""
    values = random.standard_normal((side, side), np.float32)
    values.reshape(-1, 4)[:, :2] = 0
    kind = "NM_P2_Raw32"
    encoded = plans(values, Note(None, Pattern(2, 4, 1)), [kind])[kind].build()
    return float(values.size) / seconds(partial(decode, encoded), BUDGET)
