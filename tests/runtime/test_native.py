"""The wrappers of the native library against FORMAT.md's examples, NumPy and the reference decoder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsqueeze.encode.huffman import code_lengths
from onnxsqueeze.encode.reference import _huffman, _packed, _segments
from onnxsqueeze.errors import FormatError, RuntimeUnavailable
from onnxsqueeze.runtime import native

Bytes = npt.NDArray[np.uint8]
seeds = st.integers(0, 2**32 - 1)

# "a b a c a b" of FORMAT.md, section 3.2, as keyword arguments of the decoder.
EXAMPLE: dict[str, Any] = {
    "payload": np.array([0x2A, 0x02], np.uint8),
    "sizes": [1, 1],
    "zeros": [3, 2],
    "leaves": [3, 3],
    "starts": [3, 5],
    "low": 0,
    "count": 6,
}


def coded(seed: int, symbols: int, count: int, low: int = 0) -> tuple[Bytes, dict[str, Any]]:
    """Random integers with ``symbols`` leaves and ``low`` raw bits, and the decoder's arguments for them."""
    rng = np.random.default_rng(seed)
    weights = rng.random(symbols) ** rng.integers(1, 6)
    leaf = rng.choice(symbols, count, p=weights / weights.sum()).astype(np.uint8)
    leaf[rng.choice(count, symbols, replace=False)] = np.arange(symbols)
    counts = np.bincount(leaf, minlength=symbols)
    while counts.min() == 0:  # the forced leaves may have overwritten the only one of another
        leaf[np.flatnonzero(leaf == counts.argmax())[0]] = counts.argmin()
        counts = np.bincount(leaf, minlength=symbols)
    lengths = code_lengths(counts, 12)
    order = np.argsort(lengths, kind="stable")
    number = np.empty(symbols, np.uint8)
    number[order] = np.arange(symbols)
    leaf = number[leaf]
    payload, sizes, zeros, leaves, starts = native.huffman_encode(leaf, lengths[order].astype(np.uint8))
    values = leaf
    if low:
        rest = rng.integers(0, 1 << low, count, np.uint8)
        planes, plane_sizes = native.pack(rest, low)
        payload, sizes = np.concatenate([payload, planes]), sizes + plane_sizes
        values = (leaf << low) | rest
    lists = {"sizes": sizes, "zeros": zeros, "leaves": leaves, "starts": starts}
    return values, {"payload": payload, "low": low, "count": count} | lists


def by_reference(arguments: dict[str, Any]) -> npt.NDArray[np.int64]:
    segments = _segments(arguments["payload"], arguments["sizes"])
    lists = {name: arguments[name] for name in ("zeros", "leaves", "starts")}
    return _huffman(segments, lists, len(lists["zeros"]), arguments["low"], arguments["count"])


# Packed streams


def test_packed_example_of_the_format() -> None:
    payload, sizes = native.pack(np.array([5, 2, 7], np.uint8), 3)
    assert (payload.tobytes(), sizes) == (bytes([0x36, 0x00, 0x05]), [2, 1])
    assert native.unpack(payload, sizes, 3, 3).tolist() == [5, 2, 7]


@given(seeds, st.integers(1, 8), st.integers(0, 3000))
def test_packed_round_trip(seed: int, k: int, count: int) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << k, count).astype(np.uint8)
    payload, sizes = native.pack(values, k)
    assert len(payload) == sum(sizes) == k * ((count + 7) // 8)
    assert np.array_equal(native.unpack(payload, sizes, k, count), values)
    assert np.array_equal(_packed(_segments(payload, sizes), k, count), values)


@pytest.mark.parametrize(
    ("sizes", "k", "count", "words"),
    [
        ([2, 1], 3, 9, "wrong length"),
        ([1, 2], 3, 8, "wrong length"),
        ([3], 3, 8, "number of segments"),
        ([1, 1, 1], 3, 8, "number of segments"),
        ([2, 2], 3, 8, "do not fill"),
        ([4, -1], 3, 8, "do not fill"),
        ([2**63 - 1, 2**63 - 1], 3, 8, "do not fill"),
        ([2**64, 1], 3, 8, "64 bits"),
        ([2, 1], 3, -1, "wrong length"),
        ([2, 1], 9, 8, "argument"),
        ([2, 1], 0, 8, "argument"),
    ],
)
def test_packed_refusals(sizes: list[int], k: int, count: int, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        native.unpack(np.zeros(3, np.uint8), sizes, k, count)


@pytest.mark.parametrize("payload", [[0x76, 0x00, 0x05], [0x36, 0x01, 0x05], [0x36, 0x00, 0x0D]])
def test_packed_refuses_unused_elements_that_are_not_zero(payload: list[int]) -> None:
    with pytest.raises(FormatError, match="unused elements"):
        native.unpack(np.array(payload, np.uint8), [2, 1], 3, 3)


def test_pack_refuses_values_that_do_not_fit() -> None:
    with pytest.raises(FormatError, match="does not fit"):
        native.pack(np.array([1, 8], np.uint8), 3)


def test_arrays_of_another_type_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="uint8"):
        native.pack(np.array([1, 2], np.int64), 3)


# Huffman streams


def test_huffman_example_of_the_format() -> None:
    leaf = np.array([0, 1, 0, 2, 0, 1], np.uint8)
    payload, *lists = native.huffman_encode(leaf, np.array([1, 2, 2], np.uint8))
    assert payload.tobytes() == bytes([0x2A, 0x02])
    assert lists == [EXAMPLE[name] for name in ("sizes", "zeros", "leaves", "starts")]
    assert np.array_equal(native.huffman_decode(**EXAMPLE), leaf)


@pytest.mark.parametrize("payload", [[0x6A, 0x02], [0x2A, 0x0A]])
def test_huffman_refuses_unused_bits_that_are_not_zero(payload: list[int]) -> None:
    with pytest.raises(FormatError, match="unused bits"):
        native.huffman_decode(**EXAMPLE | {"payload": np.array(payload, np.uint8)})


@settings(deadline=None)
@given(seeds, st.integers(2, 256), st.integers(0, 5000), st.integers(0, 7))
def test_huffman_round_trip(seed: int, symbols: int, more: int, low: int) -> None:
    symbols = max(2, min(symbols, 256 >> low))
    values, arguments = coded(seed, symbols, symbols + more, low)
    assert np.array_equal(native.huffman_decode(**arguments), values)
    assert np.array_equal(by_reference(arguments), values)


@settings(deadline=None)
@given(seeds, st.integers(2, 60), st.integers(0, 3000), st.integers(0, 2))
def test_bits_that_follow_no_code(seed: int, symbols: int, more: int, low: int) -> None:
    """They pass the checks, and decode as the definition says."""
    _, arguments = coded(seed, symbols, symbols + more, low)
    rng = np.random.default_rng(seed)
    parts, zeros, left = [], [], arguments["count"]
    for ended in arguments["leaves"]:
        bits = rng.integers(0, 2, left, np.uint8)
        parts.append(np.packbits(bits, bitorder="little"))
        zeros.append(left - int(bits.sum()))
        left -= ended
    levels = np.concatenate(parts)
    payload = np.concatenate([levels, arguments["payload"][len(levels) :]])
    scrambled = arguments | {"payload": payload, "zeros": zeros}
    assert np.array_equal(native.huffman_decode(**scrambled, threads=2), by_reference(scrambled))


def test_empty_levels_are_allowed() -> None:
    arguments = EXAMPLE | {"sizes": [1, 1, 0], "zeros": [3, 2, 0], "leaves": [3, 3, 0]}
    assert np.array_equal(native.huffman_decode(**arguments), [0, 1, 0, 2, 0, 1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": [2, 0]}, "level has the wrong length"),
        ({"sizes": [1]}, "number of segments"),
        ({"sizes": [1, 1, 0]}, "number of segments"),
        ({"sizes": [1, 2]}, "do not fill"),
        ({"sizes": [3, -1]}, "do not fill"),
        ({"zeros": [4, 2]}, "count of zeros"),
        ({"zeros": [3, -1]}, "count of zeros"),
        ({"zeros": [3]}, "one entry a level"),
        ({"leaves": [3, 2]}, "add up"),
        ({"leaves": [3, 4]}, "add up"),
        ({"leaves": [-3, 9]}, "add up"),
        ({"leaves": [4, 2]}, "inside a leaf"),
        ({"starts": [5, 3]}, "increase"),
        ({"starts": [3, 3]}, "increase"),
        ({"starts": [0, 3]}, "increase"),
        ({"starts": [3, 6]}, "increase"),
        ({"starts": [-1, 3]}, "increase"),
        ({"starts": []}, "leaves"),
        ({"starts": list(range(1, 257))}, "leaves"),
        ({"low": 7, "sizes": [1, 1, 4, 2, 1], "payload": np.zeros(9, np.uint8)}, "leaves"),
        ({"low": 8}, "argument"),
        ({"low": -1}, "argument"),
        ({"low": 1}, "number of segments"),
        ({"count": 5}, "increase"),
        ({"count": 8}, "inside a leaf|add up"),
        ({"count": 17}, "wrong length"),
        ({"count": -1}, "wrong length"),
        ({"payload": np.array([0x2A], np.uint8)}, "do not fill"),
        ({"payload": np.array([0x2B, 0x02], np.uint8)}, "count of zeros"),
        ({"zeros": [3] * 13, "leaves": [3] * 13, "sizes": [1] * 13}, "argument|fill"),
        ({"zeros": [], "leaves": [], "sizes": []}, "argument|fill"),
    ],
)
def test_huffman_refusals(change: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        native.huffman_decode(**(EXAMPLE | change))


@pytest.mark.parametrize(
    ("leaf", "lengths"),
    [
        ([0, 1, 0], [1, 1, 1]),  # too many
        ([0, 1, 2], [1, 2, 3]),  # not complete
        ([0, 1, 2], [2, 1, 2]),  # not sorted
        ([0, 1, 0], [1, 2, 2]),  # leaf 2 does not occur
        ([0, 1, 2], [1, 1]),  # leaf 2 is not in the code
        ([0, 0], [1]),
        ([0, 0], []),
        ([0, 1], [0, 1]),
        (list(range(14)), [*range(1, 14), 13]),  # 13 bits
    ],
)
def test_encoder_refusals(leaf: list[int], lengths: list[int]) -> None:
    with pytest.raises(FormatError):
        native.huffman_encode(np.array(leaf, np.uint8), np.array(lengths, np.uint8))


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 7])
def test_results_do_not_depend_on_threads(threads: int) -> None:
    values, arguments = coded(5, 40, 2_100_007, 2)
    assert np.array_equal(native.huffman_decode(**arguments, threads=threads), values)
    leaf = np.minimum(np.random.default_rng(1).geometric(0.5, 2_100_007) - 1, 11).astype(np.uint8)
    leaf[:12] = np.arange(12)
    lengths = np.array([*range(1, 12), 11], np.uint8)
    one, many = native.huffman_encode(leaf, lengths), native.huffman_encode(leaf, lengths, threads=threads)
    assert one[0].tobytes() == many[0].tobytes() and one[1:] == many[1:]
    floats = np.random.default_rng(2).standard_normal(2_100_007, np.float32)
    expected = native.histogram(floats, -4.0, 4.0, 300)
    found = native.histogram(floats, -4.0, 4.0, 300, threads=threads)
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


# Instruction sets

DIGEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_native import digest
print(digest())
"""


def digest() -> str:
    """A hash of what every function returns for inputs of many sizes."""
    state, rng = hashlib.sha256(), np.random.default_rng(7)
    for count in (*range(1, 140), 1000, 4097, 40001, 300001):
        values, floats = rng.integers(0, 256, count, np.uint8), rng.standard_normal(count, np.float32) * 3
        bounds = np.sort(rng.standard_normal(int(rng.integers(0, 256)), np.float32) * 2)
        for k in range(1, 9):
            payload, sizes = native.pack(values >> (8 - k), k)
            state.update(payload.tobytes() + native.unpack(payload, sizes, k, count).tobytes())
        for dtype in ("float32", "float16", "float64"):
            state.update(native.lookup(values, rng.standard_normal(256, np.float32), dtype=dtype).tobytes())
        state.update(native.assign(floats, bounds).tobytes())
        state.update(native.histogram(floats, -4.0, 4.0, 100)[0].tobytes())
        state.update(repr(native.stats(floats)).encode())
        if count > 3:
            _, arguments = coded(count, int(rng.integers(2, min(count, 64))), count, int(rng.integers(0, 3)))
            state.update(arguments["payload"].tobytes() + native.huffman_decode(**arguments).tobytes())
            state.update(repr([arguments[name] for name in ("sizes", "zeros", "leaves", "starts")]).encode())
    return state.hexdigest()


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_all_instruction_sets_agree(isa: str) -> None:
    environment = os.environ | {"ONNXSQUEEZE_ISA": isa}
    command = [sys.executable, "-c", DIGEST]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.strip() == digest()


def test_a_missing_library_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxsqueeze.runtime as package

    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    with pytest.raises(RuntimeUnavailable, match="reinstall"):
        native.library_path()
