"""Sizes of axes: whole numbers, or products of a number and unknowns such as the batch.

Two unknowns are the same where they come from the same computation, which is what their names spell out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """``factor`` times the unknowns; without unknowns a plain number."""

    factor: int
    unknowns: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether this is a plain number."""
        return not self.unknowns or self.factor == 0

    def __str__(self) -> str:
        if self.known:
            return str(self.factor)
        product = "*".join(self.unknowns)
        return product if self.factor == 1 else f"{self.factor}*{product}"

    def __mul__(self, other: Size) -> Size:
        return Size(self.factor * other.factor, tuple(sorted(self.unknowns + other.unknowns)))

    def over(self, other: Size) -> Size | None:
        """The exact quotient; None where it is none."""
        if other.factor == 0 or self.factor % other.factor:
            return None
        left = list(self.unknowns)
        for name in other.unknowns:
            if name not in left:
                return None
            left.remove(name)
        return Size(self.factor // other.factor, tuple(left))

    def __add__(self, other: Size) -> Size:
        if self.unknowns == other.unknowns:
            return Size(self.factor + other.factor, self.unknowns)
        if 0 in (self.factor, other.factor):
            return other if self.factor == 0 else self
        return unknown(f"({self}+{other})")

    def __sub__(self, other: Size) -> Size:
        return self + Size(-other.factor, other.unknowns)


def unknown(name: str) -> Size:
    """A size of which only the name is known."""
    return Size(1, (name,))


def product(sizes: list[Size]) -> Size:
    """All sizes multiplied."""
    total = Size(1)
    for size in sizes:
        total = total * size
    return total
