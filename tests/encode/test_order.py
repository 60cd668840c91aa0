"""Floats in the order of integers."""

from __future__ import annotations

import numpy as np
import pytest

from onnxsqueeze.encode.order import ordered, unordered


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_neighbours_differ_by_one(bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.standard_normal(1000).astype(f"float{bits}")
    above = np.nextafter(values, np.array(np.inf, values.dtype))
    assert (ordered(above) - ordered(values) == 1).all()
    assert (np.argsort(ordered(values), kind="stable") == np.argsort(values, kind="stable")).all()


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_any_bits_come_back(bits: int) -> None:
    data = np.random.default_rng(bits).integers(0, 256, 8000, np.uint8).tobytes()
    values = np.frombuffer(data, f"float{bits}")
    assert unordered(ordered(values)).tobytes() == data
