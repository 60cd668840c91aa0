"""The coder of updates: exact for all types, small where little changed, and safe with damaged bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsqueeze.errors import FormatError
from onnxsqueeze.runtime.delta import TYPES, Decoder, Encoder

Array = npt.NDArray[Any]
seeds = st.integers(0, 2**32 - 1)


def pair(seed: int, dtype: str, count: int, changed: float) -> tuple[Array, Array]:
    """An array and an older one; any bits, so that floats may be NaN or infinite."""
    rng = np.random.default_rng(seed)
    size = np.dtype(dtype).itemsize
    old = rng.integers(0, 256, count * size, np.uint8)
    new = np.where(rng.random(count * size) < changed, rng.integers(0, 256, count * size, np.uint8), old)
    return new.view(dtype), old.view(dtype)


def coded(*pairs: tuple[Array, Array], width: int = 16) -> tuple[bytes, bytes]:
    encoder = Encoder()
    for new, old in pairs:
        encoder.code(new, old, width)
    return encoder.end()


@given(seeds, st.sampled_from(sorted(TYPES)), st.integers(0, 500), st.sampled_from([0, 0.01, 0.5, 1]))
def test_round_trip(seed: int, dtype: str, count: int, changed: float) -> None:
    pairs = [pair(seed, dtype, count, changed), pair(seed + 1, "uint8", count // 2, changed)]
    decoder = Decoder(*coded(*pairs))
    for new, old in pairs:
        assert decoder.code(None, old, 16).tobytes() == new.tobytes()
    decoder.end()


def test_the_same_bytes_each_time() -> None:
    assert coded(pair(0, "float32", 1000, 0.1)) == coded(pair(0, "float32", 1000, 0.1))


def test_unchanged_values_cost_next_to_nothing() -> None:
    old = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
    assert sum(map(len, coded((old, old)))) < 100


def test_few_changed_indices_cost_about_their_entropy() -> None:
    rng = np.random.default_rng(0)
    old = rng.integers(0, 32, 1 << 18, np.uint8)
    moved = rng.random(old.size) < 0.05
    new = np.where(moved, np.clip(old.astype(int) + rng.choice([-1, 1], old.size), 0, 31), old).astype(np.uint8)
    share = float(np.mean(new != old))
    bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share) + share  # which, and in which direction
    assert 8 * sum(map(len, coded((new, old), width=512))) < 1.03 * bits * old.size


@pytest.mark.parametrize("cut", [0, 1])
def test_truncated_bytes_are_refused(cut: int) -> None:
    new, old = pair(0, "float32", 1000, 0.5)
    parts = list(coded((new, old)))
    parts[cut] = parts[cut][: len(parts[cut]) // 2]
    with pytest.raises(FormatError, match="end early"):
        Decoder(*parts).code(None, old, 16)


@pytest.mark.parametrize("place", [0, 1])
def test_bytes_that_are_left_are_refused(place: int) -> None:
    new, old = pair(0, "float32", 1000, 0.5)
    parts = list(coded((new, old)))
    parts[place] += b"\1"
    decoder = Decoder(*parts)
    decoder.code(None, old, 16)
    with pytest.raises(FormatError):
        decoder.end()


def test_the_types_and_lengths_must_agree() -> None:
    with pytest.raises(TypeError, match="type and the length"):
        Encoder().code(np.zeros(3, np.uint8), np.zeros(4, np.uint8), 1)
    with pytest.raises(TypeError, match="type and the length"):
        Encoder().code(np.zeros(3, np.uint8), np.zeros(3, np.uint16), 1)
    with pytest.raises(TypeError, match="needs values"):
        Encoder().code(None, np.zeros(3, np.uint16), 1)
