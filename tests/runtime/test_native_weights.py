"""From indices to weights, and the search for codebooks: the native functions against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsqueeze.errors import FormatError
from onnxsqueeze.runtime import native
from onnxsqueeze.runtime.native import ChannelScale

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(["float32", "float16", "float64"])


@given(seeds, st.integers(1, 256), st.integers(0, 3000), dtypes)
def test_lookup(seed: int, entries: int, count: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    codebook = (rng.standard_normal(entries) * 10.0 ** rng.integers(-9, 6, entries)).astype(np.float32)
    indices = rng.integers(0, entries, count).astype(np.uint8)
    with np.errstate(over="ignore", under="ignore"):
        expected = codebook[indices].astype(dtype)
    assert native.lookup(indices, codebook, dtype=dtype).tobytes() == expected.tobytes()


@given(seeds, st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), dtypes)
def test_lookup_scaled(seed: int, outer: int, channels: int, inner: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    codebook, table = rng.standard_normal(200).astype(np.float32), rng.random(5, np.float32) + np.float32(0.1)
    indices = rng.integers(0, 200, (outer, channels, inner), np.uint8)
    codes = rng.integers(0, 5, channels, np.uint8)
    expected = (codebook[indices] * table[codes][:, None]).astype(dtype)
    scale = ChannelScale(table, codes, outer, inner)
    assert native.lookup(indices, codebook, scale, dtype).tobytes() == expected.tobytes()
    assert native.rescale(codebook[indices], scale, dtype).tobytes() == expected.tobytes()


@pytest.mark.parametrize("bits", [0, 0x38800000, 0x33000000, 0x477FE000, 0x477FF000, 0x7F800000, 0x3F800000])
def test_float16_rounds_to_nearest_even(bits: int) -> None:
    """All float32 values around the edges of float16: subnormal, overflow, ties."""
    near = (np.arange(-40000, 40000) + bits).clip(0, 0x7F800000).astype(np.uint32)
    values = np.concatenate([near, near | np.uint32(1 << 31)]).view(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        expected = values.astype(np.float16)
    assert native.rescale(values, None, "float16").tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"indices": [0, 3, 0, 0, 0, 0]}, "index is outside"),
        ({"codes": [0, 2]}, "scale code"),
        ({"table": [1.0, 0.0]}, "finite and positive"),
        ({"table": [1.0, np.nan]}, "finite and positive"),
        ({"table": [1.0, np.inf]}, "finite and positive"),
        ({"outer": 4}, "argument"),
        ({"inner": 0}, "argument"),
        ({"outer": 2**63}, "argument"),
        ({"codebook": []}, "argument"),
        ({"codebook": [0.0] * 257}, "argument"),
    ],
)
def test_lookup_refusals(change: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"indices": [0] * 6, "codebook": [1.0] * 3, "table": [1.0, 2.0], "codes": [0, 1]}
    case = good | {"outer": 3, "inner": 1} | change
    table, codes = np.array(case["table"], np.float32), np.array(case["codes"], np.uint8)
    scale = ChannelScale(table, codes, case["outer"], case["inner"])
    with pytest.raises(FormatError, match=words):
        native.lookup(np.array(case["indices"], np.uint8), np.array(case["codebook"], np.float32), scale)


@given(seeds, st.integers(1, 2000), st.integers(1, 255), st.sampled_from(["float16", "float32", "float64"]))
def test_scatter_gaps(seed: int, entries: int, longest: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.integers(1, longest + 1, entries).astype(np.uint8)
    distances[0] = rng.integers(0, 256)
    values = rng.standard_normal(entries).astype(dtype)
    positions = np.cumsum(distances, dtype=np.int64)
    total = int(positions[-1]) + int(rng.integers(1, 1000))
    expected = np.zeros(total, dtype)
    expected[positions] = values
    assert native.scatter_gaps(distances, values, total).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("distances", "total", "words"),
    [
        ([0, 1, 0], 9, "distance is zero"),
        ([0, 1, 8], 9, "position is outside"),
        ([255, 255, 255], 9, "position is outside"),
        ([0, 1, 1], 2, "position is outside"),
        ([0, 1, 1], 1 << 28, "2\\^28"),
        ([0, 1, 1], -1, "2\\^28"),
        ([0, 1], 9, "differ"),
        ([], 9, "differ"),
    ],
)
def test_scatter_gaps_refusals(distances: list[int], total: int, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        native.scatter_gaps(np.array(distances, np.uint8), np.ones(3, np.float32), total)


@given(seeds, st.integers(1, 300), st.integers(2, 256), st.sampled_from(["float16", "float32", "float64"]))
def test_scatter_nm(seed: int, groups: int, size: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    kept = int(rng.integers(1, size))
    positions = np.sort(rng.random((groups, size)).argsort(axis=1)[:, :kept], axis=1)
    values = rng.standard_normal((groups, kept)).astype(dtype)
    expected = np.zeros((groups, size), dtype)
    np.put_along_axis(expected, positions, values, axis=1)
    found = native.scatter_nm(positions.astype(np.uint8), values, groups, size, kept)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("positions", "groups", "size", "kept", "words"),
    [
        ([0, 1, 1, 1], 2, 4, 2, "do not increase"),
        ([0, 1, 2, 1], 2, 4, 2, "do not increase"),
        ([0, 1, 2, 4], 2, 4, 2, "outside its group"),
        ([0, 1, 2, 3], 1, 4, 4, "argument"),
        ([0, 1, 2, 3], 1, 257, 4, "argument"),
        ([0, 1, 2, 3], 3, 4, 2, "differ"),
        ([0, 1, 2, 3], 4, 1 << 27, 1, "2\\^28"),
    ],
)
def test_scatter_nm_refusals(positions: list[int], groups: int, size: int, kept: int, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        native.scatter_nm(np.array(positions, np.uint8), np.ones(4, np.float32), groups, size, kept)


@given(seeds, st.integers(0, 255), st.one_of(st.integers(0, 3000), st.integers(4000, 9000)))
def test_assign(seed: int, bounds: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.standard_normal(bounds).astype(np.float32))
    values = rng.standard_normal(count).astype(np.float32)
    if bounds:
        values[::3] = rng.choice(edges, len(values[::3]))
    values[::50] = np.inf
    values[1::50] = -np.inf
    assert np.array_equal(native.assign(values, edges), np.searchsorted(edges, values, side="right"))


@pytest.mark.parametrize("bounds", [[2.0, 1.0], [0.0] * 256])
def test_assign_refusals(bounds: list[float]) -> None:
    with pytest.raises(FormatError):
        native.assign(np.zeros(3, np.float32), np.array(bounds, np.float32))


@given(seeds, st.integers(1, 500), st.integers(0, 3000))
def test_histogram(seed: int, bins: int, count: int) -> None:
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    low, high = -2.0, 1.5
    at = np.floor((values.astype(np.float64) - low) * (bins / (high - low)))
    at = at.clip(0, bins - 1).astype(np.int64)
    counts, sums = native.histogram(values, low, high, bins)
    assert np.array_equal(counts, np.bincount(at, minlength=bins))
    assert np.array_equal(sums, np.bincount(at, values, bins))


@pytest.mark.parametrize("case", [(1.0, 0.0, 9), (0.0, np.inf, 9), (np.nan, 1.0, 9), (0.0, 1.0, 0)])
def test_histogram_refusals(case: tuple[float, float, int]) -> None:
    with pytest.raises(FormatError):
        native.histogram(np.zeros(3, np.float32), *case)


@given(seeds, st.integers(1, 3000))
def test_stats(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    values[:: count // 7 + 1] = 0
    found = native.stats(values)
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.zeros == np.count_nonzero(values == 0)
    assert found.finite and found.abs_max == np.abs(values).max()
    for odd in (np.inf, -np.inf, np.nan):
        values[seed % count] = odd
        assert not native.stats(values).finite


def test_stats_of_nothing() -> None:
    found = native.stats(np.zeros(0, np.float32))
    assert (found.min, found.max, found.abs_max, found.finite, found.zeros) == (0, 0, 0, True, 0)
