"""Finds out what the provider's kernels are good for on this machine.

Each kernel runs a layer in the provider and the same layer, dense, in stock onnxruntime, by turns, for several shares
of zeros or widths of indices. The provider then takes over what was faster by a margin that other layers need.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from onnxsqueeze.pipeline.context import Progress, Silent

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

INPUT_ZEROS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SKIPPING_MARGIN = 1.05  # of one of our kernels over another
MARGIN = 1.15  # speed-up that counts as faster: layers differ in shape, and measurements in noise
CONV_MARGIN = 1.35  # next to convolutions of onnxruntime's own, whose layout is another
NEVER = 1.01  # a share of zeros that no weight has
ZEROS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BITS = (2, 4, 5, 6, 8)
ROUNDS = 7


@dataclass(frozen=True)
class Case:
    """Equal layers that stand for others; several, where onnxruntime brings inputs and outputs into another order."""

    name: str  # of runtime/profile.py
    weight: tuple[int, ...]  # [outputs, inputs] or [outputs, inputs, height, width]
    input: tuple[int, ...]
    count: int = 1


SPARSE = (
    Case("vector", (1536, 1536), (1, 1536)),
    Case("cached", (128, 1536), (1, 1536)),
    Case("few", (1024, 1024), (16, 1024)),
    Case("many", (768, 768), (128, 768)),
    Case("pointwise", (256, 256, 1, 1), (1, 256, 14, 14), 4),
    Case("spatial", (128, 128, 3, 3), (1, 128, 14, 14), 4),
)
SHARED = (
    Case("shared_vector", (1536, 1536), (1, 1536)),
    Case("shared_cached", (128, 1536), (1, 1536)),
    Case("shared_few", (1024, 1024), (8, 1024)),
)


def calibrate(progress: Progress | None = None) -> str:
    """Measures the kernels with one thread, for some seconds, and keeps the profile for the sessions to come.

    Returns:
        The profile (see ``onnxsqueeze.runtime.profile``).

    Raises:
        RuntimeUnavailable: onnxruntime takes no plugin providers.
    """
    from onnxsqueeze.runtime.profile import SKIPPING, write_profile

    progress = progress or Silent()
    progress.start("calibrate", len(SPARSE) + len(SHARED) + 1)
    numbers: dict[str, float] = {}
    for case in SPARSE:
        margin = MARGIN if len(case.weight) == 2 else CONV_MARGIN
        numbers[case.name] = threshold([(zeros, speedup(case, zeros=zeros)) for zeros in ZEROS], margin)
        progress.advance(case.name)
    for case in SHARED:
        numbers[case.name] = max((bits for bits in BITS if speedup(case, bits=bits) >= MARGIN), default=0)
        progress.advance(case.name)
    skipping = [(zeros, skipping_speedup(SPARSE[0], zeros)) for zeros in INPUT_ZEROS]
    numbers[SKIPPING] = threshold(skipping, SKIPPING_MARGIN)
    progress.advance(SKIPPING)
    progress.finish()
    return write_profile(numbers)


def threshold(measured: list[tuple[float, float]], margin: float = MARGIN) -> float:
    """The share of zeros from which on the speed-up stays at ``margin`` or more, between measurements linearly."""
    if measured[-1][1] < margin:
        return NEVER
    reached = measured[0][0]
    for (low, slow), (high, fast) in pairwise(measured):
        if slow < margin:
            reached = high if fast <= slow else min(high, low + (high - low) * (margin - slow) / (fast - slow))
    return round(reached, 3)


def skipping_speedup(case: Case, zeros: float) -> float:
    """How many times faster a sparse layer runs when it skips the zeros of its input, of which this share is zero."""
    import numpy as np
    import onnxruntime

    from onnxsqueeze.runtime import session_options

    packed = _models(case, 0.9, 0)[1]
    sessions = [
        onnxruntime.InferenceSession(
            packed, session_options(_options(), kernel="always", skip_zeros=skips), enable_fallback=0
        )
        for skips in (False, True)
    ]
    rng = np.random.default_rng(1)
    value = rng.standard_normal(case.input).astype(np.float32) * (rng.random(case.input) >= zeros)
    return _ratio(sessions, {"x": value.astype(np.float32)})


def speedup(case: Case, zeros: float = 0.0, bits: int = 0) -> float:
    """How many times faster the provider runs the layer than stock onnxruntime."""
    import numpy as np
    import onnxruntime

    from onnxsqueeze.runtime import session_options

    dense, packed = _models(case, zeros, bits)
    sessions = (
        onnxruntime.InferenceSession(dense, _options(), providers=["CPUExecutionProvider"]),
        onnxruntime.InferenceSession(packed, session_options(_options(), kernel="always"), enable_fallback=0),
    )
    return _ratio(sessions, {"x": np.random.default_rng(1).standard_normal(case.input).astype(np.float32)})


def _options() -> Any:
    import onnxruntime

    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads, made.log_severity_level = 1, 4
    return made


def _ratio(sessions: Sequence[Any], feed: dict[str, Any]) -> float:
    """Least time of the first session over that of the second, by turns."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for place, session in enumerate(sessions):
            started = time.thread_time()  # of the one thread that runs it: others do not count
            session.run(None, feed)
            best[place] = min(best[place], time.thread_time() - started)
    return best[0] / best[1]


def _models(case: Case, zeros: float, bits: int) -> tuple[bytes, bytes]:
    """The layers with random weights: dense, and packed."""
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes.huffman import Huffman
    from onnxsqueeze.pipeline import Context
    from onnxsqueeze.pipeline.lower import lower

    dense = _layers(case, _weight(case.weight, zeros, bits))
    packed = Model.load(dense)
    if bits:
        Huffman()(packed, Context())
    lower(packed, Context())
    return dense.SerializeToString(), packed.proto.SerializeToString()


def _weight(shape: tuple[int, ...], zeros: float, bits: int) -> npt.NDArray[Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    if bits:
        return rng.choice(np.linspace(-0.5, 0.4, 1 << bits, dtype=np.float32), shape)
    weight = rng.standard_normal(shape).astype(np.float32) / 20
    weight[rng.random(shape) < zeros] = 0
    return weight


def _layers(case: Case, weight: npt.NDArray[Any]) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    is_linear = len(case.weight) == 2
    attributes: dict[str, Any] = {"transB": 1} if is_linear else {"pads": [case.weight[-1] // 2] * 4}
    nodes = []
    for number in range(case.count):
        names = "x" if number == 0 else f"y{number}", f"y{number + 1}"
        nodes += [
            helper.make_node("Gemm" if is_linear else "Conv", [names[0], f"w{number}"], [f"h{number}"], **attributes),
            helper.make_node("Relu", [f"h{number}"], [names[1]]),
        ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, case.input)
    wanted = helper.make_tensor_value_info(
        f"y{case.count}", TensorProto.FLOAT, (case.input[0], case.weight[0], *case.input[2:])
    )
    tensors = [numpy_helper.from_array(weight, f"w{number}") for number in range(case.count)]
    graph = helper.make_graph(nodes, "layers", [given], [wanted], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
