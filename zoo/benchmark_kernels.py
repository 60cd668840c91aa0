"""Sparse layers in the execution provider against stock onnxruntime with the same weights, dense."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROUNDS = 15
ZEROS = (0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Layers:
    """Some equal layers, one after another."""

    name: str
    count: int
    weight: tuple[int, ...]  # [outputs, inputs] or [outputs, inputs, height, width]
    input: tuple[int, ...]

    def model(self, zeros: float, seed: int) -> onnx.ModelProto:
        """The layers with random weights, of which a share is zero, at random places."""
        rng = np.random.default_rng(seed)
        nodes, tensors, value = [], [], "x"
        for number in range(self.count):
            weight = rng.standard_normal(self.weight).astype(np.float32) / 20
            weight[rng.random(self.weight) < zeros] = 0
            tensors.append(numpy_helper.from_array(weight, f"w{number}"))
            kind: dict[str, Any] = {"transB": 1} if len(self.weight) == 2 else {"pads": [self.weight[-1] // 2] * 4}
            op_type = "Gemm" if len(self.weight) == 2 else "Conv"
            nodes.append(helper.make_node(op_type, [value, f"w{number}"], [f"y{number}"], **kind))
            value = f"y{number}"
        output = (self.input[0], self.weight[0], *self.input[2:])
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input)
        wanted = helper.make_tensor_value_info(value, TensorProto.FLOAT, output)
        graph = helper.make_graph(nodes, "layers", [given], [wanted], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def feed(self) -> dict[str, Any]:
        """Random values for the input."""
        return {"x": np.random.default_rng(1).standard_normal(self.input).astype(np.float32)}

    @property
    def products(self) -> int:
        """Multiplications of one run with dense weights."""
        positions = int(np.prod(self.input[2:])) * self.input[0]
        return self.count * int(np.prod(self.weight)) * positions


LAYERS = (
    Layers("Gemm 9216 → 4096, batch 1", 1, (4096, 9216), (1, 9216)),
    Layers("4 × Gemm 2048, batch 16", 4, (2048, 2048), (16, 2048)),
    Layers("4 × Gemm 2048, batch 128", 4, (2048, 2048), (128, 2048)),
    Layers("Conv 1×1, 512 → 512, 28×28", 1, (512, 512, 1, 1), (1, 512, 28, 28)),
    Layers("6 × Conv 3×3, 256 channels, 28×28", 6, (256, 256, 3, 3), (1, 256, 28, 28)),
)


def kernels(threads: Sequence[str]) -> Iterator[str]:
    """Milliseconds of both, and how many products a second each really computes."""
    from onnxsqueeze.zoo.benchmark import header, row

    names = ("layers", "threads", "zeros", "dense ms", "sparse ms", "speed-up", "10⁹ products a second: dense, sparse")
    yield header(*names)
    for layers in LAYERS:
        for count in [int(text) for text in threads] or [1, 2]:
            for zeros in ZEROS:
                dense, sparse = _seconds(layers, zeros, count)
                rates = f"{layers.products / dense / 1e9:.0f}, {layers.products * (1 - zeros) / sparse / 1e9:.0f}"
                times = f"{dense * 1e3:.2f}", f"{sparse * 1e3:.2f}", f"{dense / sparse:.1f}x"
                yield row(layers.name, count, f"{zeros:.0%}", *times, rates)


def sessions(layers: Layers, zeros: float, threads: int) -> tuple[Any, Any]:
    """The layers dense in stock onnxruntime, and packed in the provider."""
    import onnxruntime

    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context
    from onnxsqueeze.pipeline.lower import lower
    from onnxsqueeze.runtime import session_options

    dense = layers.model(zeros, 0)
    packed = Model.load(dense)
    lower(packed, Context())
    options = [onnxruntime.SessionOptions() for _ in range(2)]
    for each in options:
        each.intra_op_num_threads, each.log_severity_level = threads, 4
    return (
        onnxruntime.InferenceSession(dense.SerializeToString(), options[0], providers=["CPUExecutionProvider"]),
        onnxruntime.InferenceSession(
            packed.proto.SerializeToString(), session_options(options[1], kernel="always"), enable_fallback=0
        ),
    )


def _seconds(layers: Layers, zeros: float, threads: int) -> tuple[float, float]:
    """Least seconds of a run of both, by turns: of the thread where there is one, which others disturb less."""
    feed = layers.feed()
    opened = sessions(layers, zeros, threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for place, session in enumerate(opened):
            started = clock()
            session.run(None, feed)
            best[place] = min(best[place], clock() - started)
    return best[0], best[1]
