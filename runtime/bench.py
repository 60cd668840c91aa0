"""``python -m onnxsqueeze.runtime.bench``: the native codecs against zstandard level 3 in the same run.

Symbols are codebook indices of normally distributed values, one byte each. Every figure is the best of a few
rounds in which the contenders take turns, so that a noisy neighbour hits them alike.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxsqueeze.runtime import native

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Task = Callable[[], object]

ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Case:
    """How many clusters the values have, and how many low bits of an index stay raw."""

    clusters: int
    low: int


CASES = (Case(32, 0), Case(32, 1), Case(32, 2), Case(100, 3))


def best_seconds(tasks: Mapping[str, Task], rounds: int) -> dict[str, float]:
    """The shortest time of each task, in seconds; the tasks take turns."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def gaussian_floats(count: int, seed: int = 0) -> Floats:
    """Standard normal values: float32 [count]."""
    return np.random.default_rng(seed).standard_normal(count, np.float32)


def bounds_between(clusters: int) -> Floats:
    """The inner bounds of ``clusters`` equal intervals over four standard deviations to either side."""
    edges: Floats = np.linspace(-4, 4, clusters + 1).astype(np.float32)[1:-1]
    return edges


def leaf_code(indices: Bytes, low: int) -> tuple[Bytes, Bytes]:
    """Renumbers the high parts of ``indices`` as leaves of a Huffman code.

    Returns the leaf numbers (uint8 [count]) and the code length of each leaf in bits (uint8 [leaves]).
    """
    from onnxsqueeze.encode.huffman import MAX_DEPTH, code_lengths

    high = indices >> low
    counts = np.bincount(high)
    used = np.flatnonzero(counts)
    lengths = code_lengths(counts[used], MAX_DEPTH)
    order = np.argsort(lengths, kind="stable")
    leaf_of_high = np.zeros(256, np.uint8)
    leaf_of_high[used[order]] = np.arange(len(used))
    return leaf_of_high[high], lengths[order].astype(np.uint8)


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds / 1e6:7.0f}"


def bench_case(case: Case, values: Floats, threads: int, rounds: int) -> str:
    """One line of the table: speeds in millions of symbols a second, and their ratios to zstandard's."""
    import zstandard

    indices = native.assign(values, bounds_between(case.clusters))
    leaves, lengths = leaf_code(indices, case.low)
    raw, count = indices.tobytes(), len(indices)
    stream = native.huffman_encode(leaves, lengths)
    payload, sizes, zeros, ends, starts = stream
    low_bits = indices & np.uint8((1 << case.low) - 1)
    if case.low:
        low_payload, low_sizes = native.pack(low_bits, case.low)
        payload, sizes = np.concatenate([payload, low_payload]), sizes + low_sizes
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    squeezed, decompressor = compressor.compress(raw), zstandard.ZstdDecompressor()

    def encode(threads: int) -> object:
        levels = native.huffman_encode(leaves, lengths, threads=threads)
        return levels, native.pack(low_bits, case.low) if case.low else None

    def decode(threads: int) -> Bytes:
        return native.huffman_decode(payload, sizes, zeros, ends, starts, case.low, count, threads=threads)

    if not np.array_equal(decode(1) >> case.low, leaves) or decompressor.decompress(squeezed) != raw:
        raise AssertionError("a codec does not return what it was given")
    tasks: dict[str, Task] = {
        "zstd decode": lambda: decompressor.decompress(squeezed),
        "decode": lambda: decode(1),
        "decode many": lambda: decode(threads),
        "zstd encode": lambda: compressor.compress(raw),
        "encode": lambda: encode(1),
        "encode many": lambda: encode(threads),
    }
    best = best_seconds(tasks, rounds)
    bits = [8 * len(coded) / count for coded in (payload, squeezed)]
    cells = [f"{case.clusters:5} clusters, w = {case.low}", f"{bits[0]:7.2f} {bits[1]:8.2f}"]
    for what in ("decode", "encode"):
        one, many, other = best[what], best[f"{what} many"], best[f"zstd {what}"]
        cells.append(" ".join(_rate(count, seconds) for seconds in (one, many, other)) + f" {other / one:6.2f}x")
    return " | ".join(cells)


def bench_plain(values: Floats, rounds: int) -> list[str]:
    """One line a function without a contender: gigabytes a second, of its larger side."""
    count = len(values)
    indices = native.assign(values, bounds_between(32))
    codebook = np.linspace(-4, 4, 256, dtype=np.float32)
    bounds = {clusters: bounds_between(clusters) for clusters in (32, 256)}
    packed = {k: native.pack(indices & np.uint8((1 << k) - 1), k) for k in (4, 5)}
    tasks: dict[str, tuple[int, Task]] = {
        "pack 5 bits (values)": (1, lambda: native.pack(indices, 5)),
        "unpack 4 bits (values)": (1, lambda: native.unpack(*packed[4], 4, count)),
        "unpack 5 bits (values)": (1, lambda: native.unpack(*packed[5], 5, count)),
        "lookup (float32)": (4, lambda: native.lookup(indices, codebook)),
        "lookup (float16)": (2, lambda: native.lookup(indices, codebook, dtype="float16")),
        "assign to 32 (float32)": (4, lambda: native.assign(values, bounds[32])),
        "assign to 256 (float32)": (4, lambda: native.assign(values, bounds[256])),
        "histogram, 4096 bins (float32)": (4, lambda: native.histogram(values, -5.0, 5.0, 4096)),
        "stats (float32)": (4, lambda: native.stats(values)),
    }
    best = best_seconds({name: task for name, (_, task) in tasks.items()}, rounds)
    return [f"{name:32} {count * width / best[name] / 1e9:7.2f} GB/s" for name, (width, _) in tasks.items()]


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m onnxsqueeze.runtime.bench", description=__doc__)
    parser.add_argument("--elements", type=int, default=38_000_000, help="symbols a case")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), help="for the second columns")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the best one counts")
    options = parser.parse_args(arguments)
    values = gaussian_floats(options.elements)
    sys.stdout.write(
        f"{options.elements:,} symbols, {native.isa()}; millions of symbols a second by 1 thread, "
        f"{options.threads} threads, zstandard level {ZSTD_LEVEL}; ratio of the first to the last\n"
        f"{'':22} | {'bits: ours, zstd':16} | {'decode':31} | encode\n"
    )
    for case in CASES:
        sys.stdout.write(bench_case(case, values, options.threads, options.rounds) + "\n")
        sys.stdout.flush()
    for line in bench_plain(values, options.rounds):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
