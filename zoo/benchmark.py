"""The benchmark: ``python -m onnxsqueeze.zoo.benchmark TABLE`` prints one table; ``--help`` lists them.

Everything is measured in one run on one machine; speeds are ratios against a peer in that run.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from onnxsqueeze import zoo
from onnxsqueeze.compress import compress

BOTH = (None, "prune,share,huffman")


def machine() -> str:
    """Processor, cores and versions, for the head of a table."""
    import onnxruntime

    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "?")
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, Python {python}, onnxruntime {onnxruntime.__version__}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(c) for c in cells) + " |"


def header(*names: str) -> str:
    """The first two lines of a Markdown table."""
    return row(*names) + "\n" + row(*("---" for _ in names))


def models(names: Sequence[str]) -> Iterator[str]:
    """Every model of the zoo under both pipelines: ratio, task score, fidelity."""
    from onnxsqueeze.zoo.score import score

    yield header("model", "MB", "default: ratio", "prune,share,huffman: ratio", "score before → default / psh", "top-1")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or zoo.names():
            source = zoo.fetch(name)
            scored = bool(zoo.entry(name).score)
            before = f"{score(name, source).value:.2f}" if scored else ""
            ratios, after, top1 = [], [], []
            for number, passes in enumerate(BOTH):
                output = Path(folder) / f"{number}.onnx"
                result = compress(source, output, passes)
                ratios.append(f"{result.ratio:.2f}x")
                after.append(f"{score(name, output).value:.2f}" if scored else "")
                worst = result.verification.worst if result.verification else None
                top1.append("" if worst is None or worst.top1 is None else f"{100 * worst.top1:.1f} %")
            scores = f"{before} → {after[0]} / {after[1]}" if scored else ""
            yield row(name, f"{source.stat().st_size / 1e6:.2f}", *ratios, scores, top1[0])


LENET_PASSES = (
    "share,huffman",
    "share{bits=5},huffman",
    "share{bits=4},huffman",
    "share{bits=3},huffman",
    "prune{sparsity=0.5},share{bits=4},huffman",
    "prune{sparsity=0.7},share{bits=4},huffman",
    "prune{sparsity=0.8},share{bits=4},huffman",
    "prune{sparsity=0.8},share{bits=3},huffman",
    "prune{sparsity=0.9},share{bits=4},huffman",
)


def lenet(names: Sequence[str]) -> Iterator[str]:
    """Ratio against MNIST test error of the committed LeNets, without retraining."""
    from onnxsqueeze.zoo.score import score

    chosen = names or ("lenet-300-100", "lenet-5")
    yield header("passes", *(f"{name}: ratio, error" for name in chosen))
    original = [f"1.00x, {100 - score(name, zoo.fetch(name)).value:.2f} %" for name in chosen]
    yield row("(original)", *original)
    with tempfile.TemporaryDirectory() as folder:
        for passes in LENET_PASSES:
            cells = []
            for name in chosen:
                output = Path(folder) / "out.onnx"
                result = compress(zoo.fetch(name), output, passes)
                cells.append(f"{result.ratio:.1f}x, {100 - score(name, output).value:.2f} %")
            yield row(f"`{passes}`", *cells)


def kmeans(arguments: Sequence[str]) -> Iterator[str]:
    """1-D k-means of 37.7 M values into 32 clusters against scikit-learn's KMeans (n_init=1)."""
    import numpy as np
    from sklearn.cluster import KMeans

    from onnxsqueeze.passes import clusters

    count = int(arguments[0]) if arguments else 37_748_736
    values = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    started = time.perf_counter()
    data = clusters.SortedValues(values)
    ours = clusters.kmeans(data, clusters.initial_centers(data, 32, "linear", 0))
    seconds = time.perf_counter() - started
    inertia = clusters.square_error(data, ours)
    started = time.perf_counter()
    peer = KMeans(32, n_init=1, random_state=0).fit(values.reshape(-1, 1))
    peer_seconds = time.perf_counter() - started
    # Both inertias in float64: scikit-learn adds float32 up, which is off by percents at this size.
    peer_inertia = clusters.square_error(data, np.sort(peer.cluster_centers_.reshape(-1)))
    yield header("k-means, 32 clusters", "values", "seconds", "inertia")
    yield row("scikit-learn KMeans, n_init=1", f"{count:,}", f"{peer_seconds:.1f}", f"{peer_inertia:.1f}")
    yield row("share", f"{count:,}", f"{seconds:.1f}", f"{inertia:.1f}")
    yield row("ratio", "", f"{peer_seconds / seconds:.0f}x faster", f"{inertia / peer_inertia:.5f}x")


def scale(arguments: Sequence[str]) -> Iterator[str]:
    """Time and peak memory against model size, and against xz on the same file; random weights (speed only)."""
    import onnx

    from onnxsqueeze.zoo import graphs

    sizes = [int(a) for a in arguments] or [6, 60, 600]
    yield header("model (random weights)", "file MB", "seconds", "xz -6 seconds", "peak MB", "peak / file", "ratio")
    with tempfile.TemporaryDirectory() as folder:
        alexnet = Path(folder) / "alexnet.onnx"
        onnx.save(graphs.alexnet(), alexnet)
        yield _scale_row("AlexNet-shaped", alexnet, [alexnet], True)
        for size in sizes:
            path = Path(folder) / f"wide{size}.onnx"
            graphs.wide(size * 1_000_000, path)
            yield _scale_row(f"MLP, {size} M weights, external data", path, [path, Path(f"{path}.data")], False)


def _scale_row(name: str, path: Path, files: Sequence[Path], against_xz: bool) -> str:
    output = path.with_name("out.onnx")
    started = time.perf_counter()
    command = [sys.executable, "-m", "onnxsqueeze.cli", str(path), str(output), "--passes", BOTH[1] or "", "--quiet"]
    peak = _peak_of(command)
    seconds = time.perf_counter() - started
    xz = ""
    if against_xz:
        started = time.perf_counter()
        subprocess.run(["xz", "-6", "-k", "-c", str(path)], stdout=subprocess.DEVNULL, check=True)
        xz = f"{time.perf_counter() - started:.0f}"
    nbytes = sum(f.stat().st_size for f in files)
    outputs = [output, Path(f"{output}.data")]
    small = sum(f.stat().st_size for f in outputs if f.exists())
    cells = (f"{nbytes / 1e6:.0f}", f"{seconds:.0f}", xz, f"{peak:.0f}", f"{peak * 1e6 / nbytes:.1f}x")
    for file in [*files, *outputs]:
        file.unlink(missing_ok=True)
    return row(name, *cells, f"{nbytes / small:.2f}x")


def _peak_of(command: Sequence[str]) -> float:
    """Peak resident memory of a command, in MB; measured in a process of its own, since the system keeps a maximum."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) * 1024 / 1e6


def load(names: Sequence[str]) -> Iterator[str]:
    """Time and peak memory to open a model: dense, compressed in stock onnxruntime, compressed with runtime.load."""
    ways = ("dense", "stock", "native")
    yield header("model", "M weights", *(f"{way}: seconds, peak MB" for way in ways), "steady latency, stock / dense")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or ("vit-s-focus", "tumor-vgg16", "open-nsfw", "ppocr-rec"):
            source, output = zoo.fetch(name), Path(folder) / "small.onnx"
            result = compress(source, output)
            weights = sum(w.elements for w in result.weights) / 1e6
            cells = []
            for way, path in zip(ways, (source, output, output), strict=True):
                best = min((_opened(way, path) for _ in range(3)), key=lambda found: found[0])
                cells.append(f"{best[0]:.2f}, {best[1]:.0f}")
            yield row(name, f"{weights:.1f}", *cells, f"{_latency_ratio(name, source, output):.2f}")


def _opened(way: str, path: Path) -> tuple[float, float]:
    """Seconds and peak MB over what the imports take, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "onnxsqueeze.zoo.benchmark", "_open", way, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def _open(arguments: Sequence[str]) -> Iterator[str]:
    import onnxruntime

    import onnxsqueeze.pipeline.unpack  # noqa: F401  # so that imports are not timed
    from onnxsqueeze.bench.session import memory
    from onnxsqueeze.runtime.session import load as native

    way, path = arguments
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    started = time.perf_counter()
    if way == "native":
        native(path, options)
    else:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - started
    yield f"{seconds} {memory()[0] / 1e6}"


def _latency_ratio(name: str, dense: Path, small: Path) -> float:
    import onnxruntime

    from onnxsqueeze.zoo.score import sample_inputs

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    sessions = [onnxruntime.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in (dense, small)]
    feed = sample_inputs(name, 1, 0)[0]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(8):
        for session, taken in zip(sessions, times, strict=True):
            started = time.perf_counter()
            session.run(None, feed)
            taken.append(time.perf_counter() - started)
    return min(times[1]) / min(times[0])


def _lazily(name: str) -> Callable[[Sequence[str]], Iterator[str]]:
    """The table of that name, in a module of its own."""

    def table(arguments: Sequence[str]) -> Iterator[str]:
        made: Iterator[str] = getattr(import_module(f"onnxsqueeze.zoo.benchmark_{name}"), name)(arguments)
        return made

    return table


def _updates(arguments: Sequence[str]) -> Iterator[str]:
    from onnxsqueeze.zoo import benchmark_updates

    return _of(benchmark_updates.TABLES, "updates", arguments)


def _groups(arguments: Sequence[str]) -> Iterator[str]:
    from onnxsqueeze.zoo import benchmark_groups

    return _of(benchmark_groups.TABLES, "groups", arguments)


def _merge(arguments: Sequence[str]) -> Iterator[str]:
    from onnxsqueeze.zoo import benchmark_merge

    return _of(benchmark_merge.TABLES, "merge", arguments)


def _of(
    tables: dict[str, Callable[[Sequence[str]], Iterator[str]]], name: str, arguments: Sequence[str]
) -> Iterator[str]:
    """One of several tables of a kind."""
    if not arguments or arguments[0] not in tables:
        raise SystemExit(f"{name} has the tables {', '.join(tables)}; name one of them")
    return tables[arguments[0]](arguments[1:])


def _cost(names: Sequence[str]) -> Iterator[str]:
    from onnxsqueeze.zoo.benchmark_cost import cost

    return cost(names)


def ota(names: Sequence[str]) -> Iterator[str]:
    """Updates between two versions of a model, against bsdiff4 and zstd --patch-from."""
    from onnxsqueeze.zoo import benchmark_ota

    peers = [*benchmark_ota.PEERS]
    seconds = f"seconds: diff / apply / {' / '.join(peers)}"
    yield header("model", "change", "score before → after", "new file", "update", *peers, "update / best", seconds)
    for cells in benchmark_ota.rows(names):
        yield row(*cells)


def _accuracy(names: Sequence[str]) -> Iterator[str]:
    from onnxsqueeze.zoo.benchmark_accuracy import accuracy

    yield header("model (calibrated on)", "ratio", "loss held out", "loss unseen", "score before → after", "seconds")
    for cells in accuracy(names):
        yield row(*cells)


def _nncodec(names: Sequence[str]) -> Iterator[str]:
    from onnxsqueeze.zoo.benchmark_nncodec import nncodec

    sizes = "ours: bytes", "NNCodec: stream", "NNCodec: stream and graph"
    yield header("model", "ours", "output error", *sizes, "ours / stream", "ours / stream and graph")
    for cells in nncodec(names):
        yield row(*cells)


TABLES: dict[str, Callable[[Sequence[str]], Iterator[str]]] = {
    "models": models,
    "lenet": lenet,
    "kmeans": kmeans,
    "scale": scale,
    "load": load,
    "kernels": _lazily("kernels"),
    "provider": _lazily("provider"),
    "fatrelu": _lazily("fatrelu"),
    "accuracy": _accuracy,
    "nncodec": _nncodec,
    "groups": _groups,
    "updates": _updates,
    "merge": _merge,
    "cost": _cost,
    "ota": ota,
    "_open": _open,
}


def main() -> None:
    """Prints the table that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m onnxsqueeze.zoo.benchmark", description=__doc__)
    parser.add_argument("table", choices=[name for name in TABLES if not name.startswith("_")] + ["_open"])
    parser.add_argument("arguments", nargs="*", help="models or sizes instead of the usual ones")
    options: Any = parser.parse_args()
    if not options.table.startswith("_"):
        print(f"{machine()}\n")
    for line in TABLES[options.table](options.arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
