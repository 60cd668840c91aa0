"""Sparse and shared layers, and whole networks, in the execution provider against stock onnxruntime and other peers.

Weights are random. With one thread, times of onnxruntime and of ours are those of the thread that runs, which other
processes of the machine disturb least; with two, those of the clock. The least of some runs, by turns, counts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxsqueeze.zoo import benchmark_peers as peers

ROUNDS = 9
SPARSE = ("80%", "90%", "95%")
BITS = 4
THREADS = (1, 2)
OPSET = 13  # the newest that all peers read


@dataclass(frozen=True)
class Layers:
    """Some equal layers, one after another."""

    name: str
    count: int
    weight: tuple[int, ...]  # [outputs, inputs] or [outputs, inputs, height, width]
    input: tuple[int, ...]
    kinds: tuple[str, ...] = SPARSE

    def model(self, kind: str | float, seed: int) -> onnx.ModelProto:
        """The layers with random weights of a kind (see ``weight_of``), or with this share of zeros."""
        rng = np.random.default_rng(seed)
        nodes, tensors, value = [], [], "x"
        for number in range(self.count):
            weight = weight_of(kind if isinstance(kind, str) else f"{100 * kind}%", self.weight, rng)
            tensors.append(numpy_helper.from_array(weight, f"w{number}"))
            options: dict[str, Any] = {"transB": 1} if len(self.weight) == 2 else {"pads": [self.weight[-1] // 2] * 4}
            op_type = "Gemm" if len(self.weight) == 2 else "Conv"
            nodes.append(helper.make_node(op_type, [value, f"w{number}"], [f"y{number}"], **options))
            value = f"y{number}"
        output = (self.input[0], self.weight[0], *self.input[2:])
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input)
        wanted = helper.make_tensor_value_info(value, TensorProto.FLOAT, output)
        graph = helper.make_graph(nodes, "layers", [given], [wanted], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    def feed(self) -> dict[str, Any]:
        """Random values for the input."""
        return {"x": np.random.default_rng(1).standard_normal(self.input).astype(np.float32)}

    @property
    def products(self) -> int:
        """Multiplications of one run with dense weights."""
        positions = int(np.prod(self.input[2:])) * self.input[0]
        return self.count * int(np.prod(self.weight)) * positions


def weight_of(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Of kind "90%": that share is zero, at random places; "2:4": two of four inputs are; "4 bits": 16 values."""
    if kind == "4 bits":
        return rng.choice(np.linspace(-0.08, 0.07, 1 << BITS, dtype=np.float32), shape)
    weight: NDArray[np.float32] = (rng.standard_normal(shape, np.float32) / 20 + 0).astype(np.float32)  # no -0.0
    if kind == "2:4":
        grouped = weight.reshape(shape[0], -1, 4, *shape[2:])
        ranks = rng.random(grouped.shape, np.float32).argsort(axis=2)
        return np.where(ranks < 2, np.float32(0), grouped).reshape(shape)
    weight[rng.random(shape, np.float32) < float(kind.rstrip("%")) / 100] = 0
    return weight


LAYERS = (
    Layers("Gemm 9216 → 4096, batch 1", 1, (4096, 9216), (1, 9216), (*SPARSE, "2:4", "4 bits")),
    Layers("4 × Gemm 2048, batch 16", 4, (2048, 2048), (16, 2048), (*SPARSE, "2:4")),
    Layers("4 × Gemm 2048, batch 128", 4, (2048, 2048), (128, 2048), ("90%",)),
    Layers("Conv 1×1, 512 → 512, 28×28", 1, (512, 512, 1, 1), (1, 512, 28, 28)),
    Layers("6 × Conv 3×3, 256 channels, 28×28", 6, (256, 256, 3, 3), (1, 256, 28, 28), (*SPARSE, "2:4")),
)
COLUMNS = (
    *(
        "layers",
        "weights",
        "dense ms: 1, 2 threads",
        "ours ms: 1, 2",
        "ours: 1, 2",
        "MatMulNBits: 4 bits; integer inputs: 4, 8",
    ),
    *("scipy CSR", "deepsparse", "10⁹ products a second", "of the limit"),
)
NETWORKS = {
    "ResNet-50-shaped": ("resnet50", (3, 224, 224)),
    "MobileNet-shaped": ("mobilenet", (3, 224, 224)),
    "VGG-16-shaped": ("vgg16", (3, 224, 224)),
    "BERT-shaped, 4 layers, 64 tokens": ("transformer", (64, 768)),
}


def kernels(arguments: Sequence[str]) -> Iterator[str]:
    """Speed-ups over stock onnxruntime, dense; "layers", "networks" and "memory" choose tables."""
    from onnxsqueeze.bench import calibrate
    from onnxsqueeze.runtime.profile import read_profile
    from onnxsqueeze.zoo.benchmark_memory import memory

    tables = {"layers": _layers, "networks": _networks, "memory": memory}
    if not read_profile():
        calibrate()  # what layers of networks stay with onnxruntime
    for number, name in enumerate(arguments or tables):
        if name not in tables:
            raise SystemExit(f"kernels has the tables {', '.join(tables)}; name some of them, or none for all")
        if number:
            yield ""
        yield from tables[name]()


def _layers() -> Iterator[str]:
    from onnxsqueeze.zoo.benchmark import header, row

    limits = Limits.measured()
    limit = f"{limits.products / 1e9:.0f} · 10⁹ products a second, {limits.bytes / 1e9:.1f} GB/s of weights"
    yield f"limits, 1 thread: {limit}\n"
    yield header(*COLUMNS)
    nbits: dict[str, tuple[float, ...]] = {}
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        for layers in LAYERS:
            for kind in layers.kinds:
                yield row(layers.name, kind, *_layer_cells(layers, kind, limits, nbits, Path(folder)))


def _layer_cells(
    layers: Layers, kind: str, limits: Limits, nbits: dict[str, tuple[float, ...]], folder: Path
) -> list[str]:
    dense = layers.model(kind, 0)
    packed = packed_of(dense, kind == "4 bits")
    feed = layers.feed()
    times = [seconds(dense, packed, feed, threads, "always") for threads in THREADS]
    (one, ours), _ = times
    is_linear = len(layers.weight) == 2
    if is_linear and layers.name not in nbits:
        forms = (4, peers.FLOAT32), (4, peers.INT8), (8, peers.INT8)
        nbits[layers.name] = tuple(peers.nbits_seconds(layers.count, layers.weight, feed["x"], *form) for form in forms)
    scipy = peers.csr_seconds(dense, feed["x"]) if is_linear and kind in SPARSE else None
    onnx.save(dense, folder / "dense.onnx")
    deep = peers.deepsparse_seconds(folder / "dense.onnx", feed, 1) if kind in SPARSE else None
    products = layers.products * kept(kind)
    return [
        *(_both(f"{pair[place] * 1e3:.2f}" for pair in times) for place in (0, 1)),
        _both(f"{stock / packed:.1f}x" for stock, packed in times),
        _both(f"{one / found:.1f}x" for found in nbits[layers.name]) if is_linear else "",
        "" if scipy is None else f"{one / scipy:.1f}x",
        "" if deep is None else f"{one / deep:.1f}x",
        f"{products / ours / 1e9:.1f}",
        f"{limits.least_seconds(layers, kind) / ours:.0%}",
    ]


def _both(texts: Any) -> str:
    return ", ".join(texts)


def _networks() -> Iterator[str]:
    from onnxsqueeze.zoo.benchmark import header, row

    yield header(
        "network (random weights)", "zeros", "dense ms: 1, 2 threads", "ours ms: 1, 2", "ours: 1, 2", "deepsparse: 1, 2"
    )
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        for name, (graph, shape) in NETWORKS.items():
            dense = network(graph, 0.9)
            packed = packed_of(dense)
            feed = {dense.graph.input[0].name: np.random.default_rng(1).standard_normal((1, *shape), np.float32)}
            times = [seconds(dense, packed, feed, threads, "auto") for threads in THREADS]
            path = Path(folder) / "dense.onnx"
            onnx.save(dense, path)
            deep = [peers.deepsparse_seconds(path, feed, threads) for threads in THREADS]
            columns = (_both(f"{pair[place] * 1e3:.1f}" for pair in times) for place in (0, 1))
            ratios = _both(f"{stock / ours:.1f}x" for stock, ours in times)
            rivals = _both("–" if d is None else f"{pair[0] / d:.1f}x" for d, pair in zip(deep, times, strict=True))
            yield row(name, "90%", *columns, ratios, rivals)


def network(name: str, zeros: float) -> onnx.ModelProto:
    """A network of batch 1 with random weights, of which a share is zero, and biases; depthwise kernels stay dense."""
    from onnxsqueeze.zoo import graphs

    rng = np.random.default_rng(0)
    model = graphs.transformer(4) if name == "transformer" else getattr(graphs, name)()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name.endswith("bias"):
            values += rng.standard_normal(values.shape, np.float32) / 20
        if values.ndim > 1 and values.shape[1] > 1:
            values = np.where(rng.random(values.shape, np.float32) < zeros, np.float32(0), values)
            values *= np.float32((1 - zeros) ** -0.5)
        tensor.CopyFrom(numpy_helper.from_array(values + np.float32(0), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model


@dataclass(frozen=True)
class Limits:
    """What one thread can do at most, as onnxruntime's dense kernels show it."""

    products: float  # a second, of a large product of matrices
    bytes: float  # a second, of the weights of a product with a vector

    @classmethod
    def measured(cls) -> Limits:
        """Measures both."""
        large, vector = Layers("", 1, (1024, 1024), (1024, 1024)), LAYERS[0]
        times = [seconds(each.model("0%", 0), None, each.feed(), 1, "")[0] for each in (large, vector)]
        return cls(large.products / times[0], 4 * vector.products / times[1])

    def least_seconds(self, layers: Layers, kind: str) -> float:
        """Of products at the full rate, or of weights read once: five bytes a nonzero, or packed indices."""
        weights = layers.count * int(np.prod(layers.weight))
        nbytes = weights * (BITS / 8 if kind == "4 bits" else 5 * kept(kind))
        return max(layers.products * kept(kind) / self.products, nbytes / self.bytes)


def kept(kind: str) -> float:
    """Share of the products that are computed."""
    return 1 - float(kind[:-1]) / 100 if kind.endswith("%") else 0.5 if kind == "2:4" else 1.0


def packed_of(dense: onnx.ModelProto, shared: bool = False) -> onnx.ModelProto:
    """The model with its weights packed, bit for bit the same but for what folding BatchNormalization rounds."""
    from onnxsqueeze.model import Model
    from onnxsqueeze.passes.fold import Fold
    from onnxsqueeze.passes.huffman import Huffman
    from onnxsqueeze.pipeline import Context
    from onnxsqueeze.pipeline.lower import lower

    model = Model.load(dense)
    Fold()(model, Context())
    if shared:
        Huffman()(model, Context())
    lower(model, Context())
    return model.proto


def sessions(layers: Layers, zeros: float, threads: int) -> tuple[Any, Any]:
    """The layers dense in stock onnxruntime, and packed in the provider."""
    dense = layers.model(zeros, 0)
    return _session(dense, threads, ""), _session(packed_of(dense), threads, "always")


def _session(model: onnx.ModelProto, threads: int, kernel: str) -> Any:
    import onnxruntime

    from onnxsqueeze.runtime import session_options

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    data = model.SerializeToString()
    if not kernel:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return onnxruntime.InferenceSession(data, session_options(options, kernel=kernel), enable_fallback=0)


def seconds(
    dense: onnx.ModelProto, packed: onnx.ModelProto | None, feed: dict[str, Any], threads: int, kernel: str
) -> tuple[float, float]:
    """Least seconds of a run: dense in stock onnxruntime, packed in the provider."""
    opened = [_session(dense, threads, ""), *([] if packed is None else [_session(packed, threads, kernel)])]
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for place, session in enumerate(opened):
            started = clock()
            session.run(None, feed)
            best[place] = min(best[place], clock() - started)
    return best[0], best[1]
