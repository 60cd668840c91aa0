"""What holds for every weight: exact, smaller than dense, honest about its size, close to Huffman's bound."""

from __future__ import annotations

import heapq
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxsqueeze.encode import Encoded, Note, Pattern, Scale, Sharing, best_plan, plans, reference, smallest
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.huffman import code_for_distances, code_for_indices, code_lengths, entropy_bits
from onnxsqueeze.encode.names import split_kind
from onnxsqueeze.encode.nodes import to_node
from onnxsqueeze.encode.streams import plan_distances, plan_indices

Array = npt.NDArray[Any]

dtypes = st.sampled_from([np.float16, np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)
shapes = hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=9) | st.tuples(st.integers(1, 4000))
OP_TYPES = [
    f"{layout}{stream}{suffix}"
    for layout in ("Dense_", "Gaps_P3_", "Gaps_H8L1_", "NM_P2_")
    for stream in ("P4", "P6", "P8", "H4", "H12", "H8L2", "H12L4")
    for suffix in ("", "_S", "_C")
]
properties = settings(deadline=None, max_examples=120)


@st.composite
def weights(draw: st.DrawFn) -> tuple[Array, Note]:
    """A weight of any type, sparsity and number of distinct values, maybe scaled or grouped, and its note."""
    rng = np.random.default_rng(draw(seeds))
    dtype, shape = draw(dtypes), draw(shapes)
    distinct = draw(st.integers(1, 300))
    exponent = draw(st.sampled_from([-126, -24, -10, 0, 10, 100]))
    with np.errstate(all="ignore"):
        codebook = np.unique((rng.standard_normal(distinct) * 2.0**exponent).astype(np.float32))
    skew = draw(st.sampled_from([1.0, 3.0]))
    indices = (rng.random(shape) ** skew * len(codebook)).astype(int)
    values = codebook[indices] * (rng.random(shape) < draw(st.sampled_from([1.0, 0.9, 0.5, 0.1, 0.01]))) + np.float32(0)
    sharing = Sharing(codebook) if len(codebook) <= 256 and draw(st.booleans()) else None
    if sharing is not None and draw(st.booleans()):
        axis = draw(st.integers(0, len(shape) - 1))
        table = np.exp2(rng.uniform(-2, 2, 7)).astype(np.float32)
        scale = Scale(axis, table, rng.integers(0, 7, shape[axis]).astype(np.uint8))
        sharing = Sharing(codebook, scale)
        with np.errstate(all="ignore"):
            values = values * scale.broadcast(len(shape))
    pattern = None
    if draw(st.booleans()):
        axis, group = draw(st.integers(0, len(shape) - 1)), draw(st.integers(2, 9))
        pattern = Pattern(draw(st.integers(1, group - 1)), group, axis)
        if draw(st.booleans()) and shape[axis] % group == 0:  # else the weight does not keep to it
            rows = np.moveaxis(values, axis, -1).reshape(-1, group).copy()
            rows[:, pattern.kept :] = 0
            moved = np.moveaxis(values, axis, -1).shape
            values = np.ascontiguousarray(np.moveaxis(rows.reshape(moved), -1, axis))
    with np.errstate(all="ignore"):
        return values.astype(dtype), Note(sharing, pattern, draw(st.booleans()))


def assert_exact(values: Array, encoded: Encoded | None) -> None:
    if encoded is None:
        return
    assert encoded.nbytes < values.nbytes
    assert_same(values, encoded)


def assert_same(values: Array, encoded: Encoded) -> None:
    for decoder in (decode, reference.decode):
        found = decoder(encoded)
        assert (found.dtype, found.shape, found.tobytes()) == (values.dtype, values.shape, values.tobytes())


@given(weights())
@properties
def test_what_passes_make_comes_back(case: tuple[Array, Note]) -> None:
    values, note = case
    assert_exact(values, smallest(values, note))


@given(hnp.arrays(dtypes, shapes), st.booleans(), st.integers(1, 40))
@properties
def test_any_bits_come_back(values: Array, entropy: bool, repeat: int) -> None:
    """Not-a-numbers, infinities, subnormals, zeros of both signs: whatever hypothesis thinks of."""
    values = np.tile(values, repeat)
    assert_exact(values, smallest(values, Note(entropy=entropy)))


@given(hnp.arrays(dtypes, st.tuples(st.integers(64, 300))), st.data())
@properties
def test_a_stale_note_does_no_harm(values: Array, data: st.DataObject) -> None:
    codebook = np.sort(np.float32([-1, 0.5, 2]))
    note = Note(Sharing(codebook), Pattern(1, data.draw(st.integers(2, 64)), 0), entropy=True)
    assert_exact(values, smallest(values, note))


# Sizes


@given(weights())
@properties
def test_plans_tell_the_size(case: tuple[Array, Note]) -> None:
    plan = best_plan(*case)
    if plan is not None:
        size = plan.build().nbytes
        assert abs(plan.nbytes - size) <= 0.05 * size + 64


@given(weights(), st.sets(st.sampled_from(OP_TYPES), max_size=4))
@properties
def test_plans_for_operators_that_are_given(case: tuple[Array, Note], op_types: set[str]) -> None:
    values, note = case[0], replace(case[1], entropy=True)
    found = plans(values, note, op_types)
    for op_type, plan in found.items():
        encoded = plan.build()
        assert (plan.op_type, encoded.op_type) == (op_type, op_type)
        starts = sum(len(v) for name, v in encoded.attributes.items() if name.endswith("starts"))
        assert abs(plan.nbytes - encoded.nbytes) <= 0.05 * encoded.nbytes + 64 + starts, "each may be a byte shorter"
        assert_same(values, encoded)
    best = best_plan(values, note)
    if best is not None and best.op_type in op_types:
        assert best.op_type in found


@given(weights())
@properties
def test_nbytes_is_what_the_file_grows_by(case: tuple[Array, Note]) -> None:
    encoded = smallest(*case)
    if encoded is not None:
        node, tensors = to_node(encoded, "conv.weight", "17.")
        size = node.ByteSize() + sum(tensor.ByteSize() for tensor in tensors)
        assert abs(encoded.nbytes - size) <= 0.02 * size + 64


DISTRIBUTIONS = {
    "gauss": lambda rng, n: rng.standard_normal(n),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "t4": lambda rng, n: rng.standard_t(4, n),
}


def quantized(distribution: str, bits: float, count: int) -> Array:
    """Samples rounded to a step that leaves about ``bits`` bits of entropy, at most 255 levels."""
    values = DISTRIBUTIONS[distribution](np.random.default_rng(int(10 * bits)), count)
    low, high = 1e-3, 1e2
    for _ in range(40):
        step = (low * high) ** 0.5
        levels = np.clip(np.rint(values / step), -127, 127).astype(np.int64)
        over = entropy_bits(np.bincount(levels + 127)) > bits * count
        low, high = (step, high) if over else (low, step)
    return (levels * np.float32(0.01)).astype(np.float32).reshape(-1, 64) + np.float32(0)


@pytest.mark.parametrize("bits", [2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_coded_weights_come_close_to_the_bound(distribution: str, bits: float) -> None:
    values = quantized(distribution, bits, 1 << 17)
    encoded = smallest(values, Note(entropy=True))
    assert encoded is not None
    counts = np.unique(values, return_counts=True)[1]
    bound = huffman_bits(counts) / 8
    assert len(encoded.inputs["v"]) <= 1.01 * bound + 64, encoded.op_type
    overhead = encoded.nbytes - len(encoded.inputs["v"]) - encoded.inputs["codebook"].nbytes
    assert overhead <= 1400
    assert decode(encoded).tobytes() == values.tobytes()


# Code lengths


def huffman_bits(counts: Array) -> int:
    """Bits of an optimal code: the sum of all merged weights of Huffman's own algorithm."""
    heap = [int(c) for c in counts]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def best_bits_by_search(counts: list[int], limit: int) -> int:
    """The cheapest complete code of bounded length, by trying all length profiles; for few symbols."""
    ordered = sorted(counts, reverse=True)

    def search(i: int, shortest: int, room: Fraction) -> float:
        if i == len(ordered):
            return 0.0 if room >= 0 else float("inf")
        tries = (bits for bits in range(shortest, limit + 1) if Fraction(1, 1 << bits) <= room)
        return min(
            (ordered[i] * b + search(i + 1, b, room - Fraction(1, 1 << b)) for b in tries),
            default=float("inf"),
        )

    return int(search(0, 1, Fraction(1)))


def kraft(lengths: Array) -> Fraction:
    return sum((Fraction(1, 1 << int(b)) for b in lengths), Fraction(0))


@given(st.lists(st.integers(1, 10**9) | st.integers(1, 3), min_size=2, max_size=256))
@properties
def test_code_lengths_are_huffmans_where_nothing_limits_them(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts), 40 if max(counts) > 3 else 20)
    assert int((lengths * counts).sum()) == huffman_bits(np.array(counts))
    assert kraft(lengths) == 1


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=256), st.integers(0, 6))
@properties
def test_limited_code_lengths_are_complete(counts: list[int], slack: int) -> None:
    limit = max(1, (len(counts) - 1).bit_length()) + slack
    lengths = code_lengths(np.array(counts), limit)
    assert lengths.min() >= 1 and lengths.max() <= limit and kraft(lengths) == 1
    order = np.argsort(counts, kind="stable")
    assert (np.diff(lengths[order]) <= 0).all(), "a more frequent symbol has a longer code"
    assert int((lengths * counts).sum()) >= huffman_bits(np.array(counts))


@given(st.lists(st.integers(1, 200) | st.integers(1, 10**5), min_size=2, max_size=7), st.integers(0, 2))
@properties
def test_limited_code_lengths_are_the_best_there_are(counts: list[int], slack: int) -> None:
    limit = max(1, (len(counts) - 1).bit_length()) + slack
    lengths = code_lengths(np.array(counts), limit)
    assert int((lengths * counts).sum()) == best_bits_by_search(counts, limit)


def test_more_symbols_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        code_lengths(np.ones(5, np.int64), 2)


@given(hnp.arrays(np.int64, st.integers(1, 256), elements=st.integers(0, 3000) | st.sampled_from([0, 1, 10**6])))
@properties
def test_codes_are_legal(counts: Array) -> None:
    """What FORMAT.md asks of a code: 2 … 256 leaves with their low bits, in order, all leaves used."""
    counts = counts if counts.any() else counts + 1
    for code in (code_for_indices(counts), *(code_for_distances(counts, low) for low in range(8))):
        if code is not None:
            leaves = len(code.counts)
            assert leaves >= 2 and leaves << code.low <= 256 and code.depth <= 12
            assert (np.diff(code.lengths) >= 0).all() and (code.counts > 0).all() and kraft(code.lengths) == 1
            assert int(code.counts.sum()) == int(counts.sum())
    for plan in (plan_indices(counts, True), plan_distances(counts, True)):
        assert plan is not None
        depth, bits = split_kind(plan.kind)
        assert depth <= 12 and bits <= 8
