"""Streams: sequences of integers below 256, packed or Huffman-coded (FORMAT.md, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode.huffman import Code, Counts, code_for_distances, code_for_indices
from onnxsqueeze.encode.names import split_kind
from onnxsqueeze.runtime import native

Bytes = npt.NDArray[np.uint8]

# Bits of the planes that make up k bits, from high to low.
PLANES = {0: (), 1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}


# Measured: intermediates of the standard-operator decoder, per level bit and per element.
LOAD_BYTES_PER_BIT, LOAD_BYTES_PER_ELEMENT = 26, 36


@dataclass(frozen=True, eq=False)
class StreamPlan:
    """How a stream will be coded; ``nbytes`` is exact for the payload, close for the attributes."""

    kind: str  # "P5", "H6L3"
    nbytes: int
    bits: int = 0  # packed
    code: Code | None = None  # Huffman

    @property
    def load_nodes(self) -> int:
        """Standard operators that decode a Huffman stream; 0 for a packed one."""
        return 0 if self.code is None else 2 * split_kind(self.kind)[0] + 56

    @property
    def load_bytes(self) -> int:
        """Memory of the intermediates that decode a Huffman stream; 0 for a packed one."""
        if self.code is None:
            return 0
        levels = int((self.code.counts * self.code.lengths).sum())
        return LOAD_BYTES_PER_BIT * levels + LOAD_BYTES_PER_ELEMENT * int(self.code.counts.sum())


@dataclass(frozen=True, eq=False)
class Stream:
    """A coded stream: one payload and the lists that cut it."""

    kind: str
    payload: Bytes
    sizes: list[int]
    zeros: list[int] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def attributes(self, prefix: str) -> dict[str, list[int]]:
        """The node attributes that describe this stream, named ``v_…`` or ``p_…``."""
        named = {"sizes": self.sizes}
        if self.kind.startswith("H"):
            named |= {"zeros": self.zeros, "leaves": self.leaves, "starts": self.starts}
        return {f"{prefix}_{name}": value for name, value in named.items()}


def blocks_of(count: int) -> int:
    """Number of blocks of 8 elements."""
    return (count + 7) // 8


def _packed_plan(largest: int, count: int, bits: int = 1) -> StreamPlan:
    bits = max(bits, int(largest).bit_length())
    return StreamPlan(f"P{bits}", bits * blocks_of(count), bits=bits)


def _huffman_plan(code: Code, levels: int = 0) -> StreamPlan:
    """Levels in the file are a multiple of 4, the last ones empty, so that tensors share decode functions."""
    levels = levels or (code.depth + 3) // 4 * 4
    count = int(code.counts.sum())
    payload = (code.bits - code.low * count) // 8 + code.depth + code.low * blocks_of(count)
    attributes = (
        10 * code.depth + 6 * (levels - code.depth) + (1 + (count.bit_length() + 6) // 7) * len(code.counts) + 40
    )
    return StreamPlan(f"H{levels}" + (f"L{code.low}" if code.low else ""), payload + attributes, code=code)


def plan_indices(counts: Counts, entropy: bool, kind: str = "") -> StreamPlan | None:
    """The smallest coding for codebook indices with these counts (one entry a codebook value).

    With ``kind``, the coding of that kind, None where it cannot hold them; without, packed where not ``entropy``.
    """
    if kind:
        return _of_kind(kind, len(counts) - 1, int(counts.sum()), partial(code_for_indices, counts))
    packed = _packed_plan(len(counts) - 1, int(counts.sum()))
    code = code_for_indices(counts) if entropy else None
    huffman = packed if code is None else _huffman_plan(code)
    return huffman if huffman.nbytes < packed.nbytes else packed


def plan_distances(counts: Counts, entropy: bool, kind: str = "") -> StreamPlan | None:
    """The smallest coding for distances with these counts (entry d: how often d occurs); ``kind`` as for indices."""
    longest = int(np.flatnonzero(counts)[-1])
    if kind:
        return _of_kind(kind, longest, int(counts.sum()), partial(code_for_distances, counts))
    best = _packed_plan(longest, int(counts.sum()))
    for low in range(8) if entropy else ():
        code = code_for_distances(counts, low)
        if code is not None and (plan := _huffman_plan(code)).nbytes < best.nbytes:
            best = plan
    return best


def _of_kind(kind: str, largest: int, count: int, code_for: Callable[[int, int], Code | None]) -> StreamPlan | None:
    levels, bits = split_kind(kind)
    if not levels:
        packed = _packed_plan(largest, count, bits)
        return packed if packed.kind == kind else None
    code = code_for(bits, levels)
    return None if code is None else _huffman_plan(code, levels)


def encode(values: Bytes, plan: StreamPlan) -> Stream:
    """Codes ``values`` (any shape, read in row-major order) as planned."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if plan.code is None:
        payload, sizes = native.pack(flat, plan.bits)
        return Stream(plan.kind, payload, sizes)
    code = plan.code
    every = np.arange(256) + code.offset
    leaf_table = np.zeros(256, np.uint8)
    high = every >> code.low
    coded = high < len(code.leaf_of_high)
    leaf_table[coded] = np.maximum(code.leaf_of_high[high[coded]], 0)
    payload, sizes, zeros, leaves, starts = native.huffman_encode(leaf_table[flat], code.lengths.astype(np.uint8))
    unused = [0] * (split_kind(plan.kind)[0] - code.depth)
    sizes, zeros, leaves = sizes + unused, zeros + unused, leaves + unused
    if code.low:
        low_table = (every & ((1 << code.low) - 1)).astype(np.uint8)
        low_payload, low_sizes = native.pack(low_table[flat], code.low)
        payload, sizes = np.concatenate([payload, low_payload]), sizes + low_sizes
    return Stream(plan.kind, payload, sizes, zeros, leaves, starts)


def slots(entries: int, plan: StreamPlan) -> int:
    """Size of a codebook of so many entries once it covers every index that the stream can hold."""
    if plan.code is None:
        return 1 << plan.bits if plan.bits in (1, 2, 4) else entries
    return len(plan.code.counts) << plan.code.low


def permute_codebook(codebook: npt.NDArray[np.float32], plan: StreamPlan) -> npt.NDArray[np.float32]:
    """The codebook in the order that the coded indices refer to, padded with zeros where slots are unused."""
    padded = np.zeros(slots(len(codebook), plan), np.float32)
    if plan.code is None:
        padded[: len(codebook)] = codebook
        return padded
    code = plan.code
    every = np.arange(len(codebook)) + code.offset
    leaf = code.leaf_of_high[every >> code.low]
    places = (leaf << code.low) | (every & ((1 << code.low) - 1))
    padded[places[leaf >= 0]] = codebook[leaf >= 0]
    return padded


def decode(stream: Stream, count: int, threads: int = 1) -> Bytes:
    """Decodes natively: uint8 [count]."""
    depth, low = split_kind(stream.kind)
    if depth == 0:
        return native.unpack(stream.payload, stream.sizes, low, count)
    return native.huffman_decode(
        stream.payload, stream.sizes, stream.zeros, stream.leaves, stream.starts, low, count, threads=threads
    )
