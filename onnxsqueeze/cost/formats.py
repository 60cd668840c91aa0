"""Bytes of a sparse matrix in the usual formats, and the sparsity from which each is smaller than the dense values.

The bytes of a weight as it lies in a file are ``WeightWork.stored_nbytes``; these formulas say what other formats
would take. Values keep their own width in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

INDEX = 4  # bits of a relative index (Han et al., Deep Compression, 2016: 4 for fully connected layers)

CSR32, CSR16, BITMASK = "CSR, 32-bit columns", "CSR, 16-bit columns", "bitmask"
RELATIVE, GAPS, TWO_OF_FOUR = "relative index, 4 bits", "gaps, Huffman", "2:4"


@dataclass(frozen=True)
class Matrix:
    """A weight as [rows, columns], rows being outputs, with so many values that are not zero."""

    rows: int
    columns: int
    nonzeros: float
    bits: int = 32  # of one value

    @property
    def elements(self) -> int:
        """Number of values."""
        return self.rows * self.columns

    @property
    def density(self) -> float:
        """Share of the values that are not zero."""
        return self.nonzeros / self.elements if self.elements else 0.0


def _csr(index_bits: int) -> Callable[[Matrix], float]:
    """A value and a column for each nonzero, and where each row starts in 32 bits (Saad, SPARSKIT, 1994)."""
    return lambda m: m.nonzeros * (m.bits + index_bits) / 8 + 4 * (m.rows + 1)


def _bitmask(m: Matrix) -> float:
    """One bit for each place, then the nonzeros."""
    return (m.elements + m.nonzeros * m.bits) / 8


def _relative(m: Matrix) -> float:
    """The distance to the last entry in 4 bits; longer ones go in steps of 16 over zeros that are stored.

    With zeros at random places, a distance exceeds 16 with probability (1 - density)^16, and so on.
    """
    far = (1 - m.density) ** (1 << INDEX)
    fillers = m.nonzeros * far / (1 - far) if far < 1 else 0.0
    return (m.nonzeros + fillers) * (m.bits + INDEX) / 8


def _gaps(m: Matrix) -> float:
    """Distances at the entropy of zeros at random places, which Huffman codes come close to (FORMAT.md, Gaps)."""
    p = m.density
    entropy = 0.0 if p in (0.0, 1.0) else -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    return (m.elements * entropy + m.nonzeros * m.bits) / 8


def _two_of_four(m: Matrix) -> float:
    """2 values of every 4 with 2 bits each for their places, however many of them are zero (Mishra et al., 2021)."""
    return m.elements / 2 * (m.bits + 2) / 8 if m.density <= 0.5 else math.inf


FORMATS: dict[str, Callable[[Matrix], float]] = {
    CSR32: _csr(32),
    CSR16: _csr(16),
    BITMASK: _bitmask,
    RELATIVE: _relative,
    GAPS: _gaps,
    TWO_OF_FOUR: _two_of_four,
}
"""Name to bytes."""


def nbytes(name: str, matrix: Matrix) -> float:
    """Bytes of a matrix in a format, infinite where the format cannot hold it; KeyError for unknown formats."""
    if name == CSR16 and matrix.columns > 1 << 16:
        return math.inf
    return FORMATS[name](matrix)


def break_even(name: str, rows: int, columns: int, bits: int = 32) -> float | None:
    """The share of zeros from which on a format takes fewer bytes than the dense values; None where it never does."""
    dense = rows * columns * bits / 8
    return first_sparsity(lambda zeros: nbytes(name, Matrix(rows, columns, rows * columns * (1 - zeros), bits)) < dense)


def first_sparsity(pays: Callable[[float], bool]) -> float | None:
    """The smallest share of zeros, in steps of 1/1024, at which something pays that does so above it, too."""
    low, high = 0, 1024
    if not pays(1 - 1 / 1024):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if pays(middle / 1024) else (middle + 1, high)
    return low / 1024
