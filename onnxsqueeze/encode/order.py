"""Floats as unsigned integers in the same order: neighbouring floats differ by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def ordered(values: Array) -> Array:
    """Integers as wide as the floats (any bits), in the floats' order."""
    bits = np.ascontiguousarray(values).view(f"uint{8 * values.itemsize}")
    top = bits.dtype.type(1 << 8 * bits.itemsize - 1)
    result: Array = np.where(bits & top, ~bits, bits | top)
    return result


def unordered(numbers: Array) -> Array:
    """The inverse of ``ordered``."""
    top = numbers.dtype.type(1 << 8 * numbers.itemsize - 1)
    bits: Array = np.where(numbers & top, numbers ^ top, ~numbers)
    return bits.view(f"float{8 * numbers.itemsize}")
