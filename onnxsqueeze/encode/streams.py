"""Streams: sequences of integers below 256, packed or Huffman-coded (FORMAT.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        return 0 if self.code is None else 2 * _stored_depth(self.code) + 56

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


def _packed_plan(largest: int, count: int) -> StreamPlan:
    bits = max(1, int(largest).bit_length())
    return StreamPlan(f"P{bits}", bits * blocks_of(count), bits=bits)


def _stored_depth(code: Code) -> int:
    """Levels in the file: a multiple of 4, the last ones empty, so that tensors share decode functions."""
    return (code.depth + 3) // 4 * 4


def _huffman_plan(code: Code) -> StreamPlan:
    count = int(code.counts.sum())
    payload = (code.bits - code.low * count) // 8 + code.depth + code.low * blocks_of(count)
    attributes = 10 * code.depth + 4 * len(code.counts) + 40
    kind = f"H{_stored_depth(code)}" + (f"L{code.low}" if code.low else "")
    return StreamPlan(kind, payload + attributes, code=code)


def plan_indices(counts: Counts, entropy: bool) -> StreamPlan:
    """The smaller coding for codebook indices with these counts (one entry a codebook value)."""
    packed = _packed_plan(len(counts) - 1, int(counts.sum()))
    code = code_for_indices(counts) if entropy else None
    if code is None:
        return packed
    huffman = _huffman_plan(code)
    return huffman if huffman.nbytes < packed.nbytes else packed


def plan_distances(counts: Counts, entropy: bool) -> StreamPlan:
    """The smaller coding for distances with these counts (entry d: how often d occurs)."""
    best = _packed_plan(int(np.flatnonzero(counts)[-1]), int(counts.sum()))
    for low in range(8) if entropy else ():
        code = code_for_distances(counts, low)
        if code is not None and (plan := _huffman_plan(code)).nbytes < best.nbytes:
            best = plan
    return best


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
    unused = [0] * (_stored_depth(code) - code.depth)
    sizes, zeros, leaves = sizes + unused, zeros + unused, leaves + unused
    if code.low:
        low_table = (every & ((1 << code.low) - 1)).astype(np.uint8)
        low_payload, low_sizes = native.pack(low_table[flat], code.low)
        payload, sizes = np.concatenate([payload, low_payload]), sizes + low_sizes
    return Stream(plan.kind, payload, sizes, zeros, leaves, starts)


def permute_codebook(codebook: npt.NDArray[np.float32], plan: StreamPlan) -> npt.NDArray[np.float32]:
    """The codebook in the order that the coded indices refer to, padded with zeros where slots are unused."""
    if plan.code is None:
        padded = np.zeros(1 << plan.bits if plan.bits in (1, 2, 4) else len(codebook), np.float32)
        padded[: len(codebook)] = codebook
        return padded
    code = plan.code
    every = np.arange(len(codebook)) + code.offset
    leaf = code.leaf_of_high[every >> code.low]
    slots = (leaf << code.low) | (every & ((1 << code.low) - 1))
    padded = np.zeros(len(code.counts) << code.low, np.float32)
    padded[slots[leaf >= 0]] = codebook[leaf >= 0]
    return padded


def decode(stream: Stream, count: int, threads: int = 1) -> Bytes:
    """Decodes natively: uint8 [count]."""
    depth, low = split_kind(stream.kind)
    if depth == 0:
        return native.unpack(stream.payload, stream.sizes, low, count)
    return native.huffman_decode(
        stream.payload, stream.sizes, stream.zeros, stream.leaves, stream.starts, low, count, threads=threads
    )
