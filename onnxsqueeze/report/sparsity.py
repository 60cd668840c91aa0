"""From which share of zeros sparse storage and sparse kernels pay, as rows for tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxsqueeze.cost.formats import BITMASK, CSR16, CSR32, GAPS, RELATIVE, TWO_OF_FOUR
from onnxsqueeze.report.units import percent

if TYPE_CHECKING:
    from onnxsqueeze.report.expense import BreakEven, Expenses

FORMATS = {
    CSR32: "CSR 32",
    CSR16: "CSR 16",
    BITMASK: "bitmask",
    RELATIVE: "gaps 4",
    GAPS: "gaps coded",
    TWO_OF_FOUR: "2:4",
}
HEAD = ("weight", "zeros", "faster from", "R storage", "R memory", "R compute", *FORMATS.values())
"""Columns: the share of zeros that a layer has, those from which it would pay, and R dense / R sparse as it is."""

EXPLAINED = (
    "With fewer zeros than a column says, the device's sparse kernel takes more time than its dense one, and a format "
    "more bytes than the dense float values: CSR with columns of 32 or 16 bits, a bitmask, gaps of 4 bits or "
    "Huffman-coded, 2:4. R is dense over sparse, by W / (P·E), for the zeros that the layer has and the bytes that lie "
    "in the file; a dash: the device has no sparse kernel for the layer."
)


def rows(expenses: Expenses, count: int) -> Iterator[tuple[str, ...]]:
    """The largest layers."""
    for item in expenses.break_even[:count]:
        gains = [f"{item.reductions[key]:.2f}x" if item.reductions else "–" for key in _RESOURCES]
        yield (
            item.layer,
            percent(item.zeros),
            _share(item.faster_from),
            *gains,
            *(_share(item.smaller_from[name]) for name in FORMATS),
        )


def sentence(expenses: Expenses) -> str:
    """How many layers have zeros enough for the device's sparse kernel."""
    able = [item for item in expenses.break_even if item.faster_from is not None]
    if not able:
        return f"{expenses.device} has no sparse kernel for these layers: zeros save storage there, not time."
    fast = [item for item in able if item.faster_from is not None and item.zeros >= item.faster_from]
    return (
        f"On {expenses.device}, {len(fast):,} of {len(expenses.break_even):,} layers have zeros enough for a sparse "
        f"kernel to be faster; it takes from {percent(_least(able))} on."
    )


_RESOURCES = ("storage", "communication", "compute")


def _least(items: Sequence[BreakEven]) -> float:
    return min(item.faster_from for item in items if item.faster_from is not None)


def _share(value: float | None) -> str:
    return "never" if value is None else percent(value)
