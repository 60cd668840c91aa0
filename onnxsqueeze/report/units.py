"""Quantities as people read them: a number and a unit, powers of 1000."""

from __future__ import annotations

import math


def size(nbytes: float) -> str:
    """Bytes in a unit that fits (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if abs(nbytes) < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.2f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} GB"


def ratio(before: float, after: float) -> str:
    """``before / after`` as text."""
    return f"{before / after:.2f}x" if after else "-"


def percent(share: float, digits: int = 1) -> str:
    """A fraction as a percentage; what is not all or nothing never reads as 0 or 100 %."""
    text = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if share > 0 and float(text) == 0:
        return f"< {least:g} %"
    if share < 1 and float(text) == 100:
        return f"> {100 - least:g} %"
    return f"{text} %"


def error(value: float) -> str:
    """A relative error as a percentage of three figures; NaN where no value could be compared."""
    if math.isnan(value):
        return "nothing finite"
    if not math.isfinite(value):
        return "lost"
    return "0 %" if value == 0 else f"{100 * value:.3g} %"


PREFIXES = ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T")


def prefix(value: float) -> tuple[float, str]:
    """The SI prefix that fits a quantity: what it stands for, and its letter."""
    if value == 0 or not math.isfinite(value):
        return 1.0, ""
    power = min(max(math.floor(math.log10(abs(value)) / 3), -5), 4)
    if abs(float(f"{value / 1000.0**power:.3g}")) >= 1000 and power < 4:
        power += 1
    return 1000.0**power, PREFIXES[power + 5]


def metric(value: float, unit: str) -> str:
    """A quantity of three figures with the SI prefix that fits, e.g. ``1.25 mJ``."""
    factor, letter = prefix(value)
    return f"{value / factor:.3g} {letter}{unit}"


def short(text: str, length: int) -> str:
    """At most ``length`` characters: of longer texts the end, which tells names apart."""
    return text if len(text) <= length else "…" + text[1 - length :]
