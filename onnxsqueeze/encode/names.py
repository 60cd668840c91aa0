"""Operator names of the domain (FORMAT.md, section 2): what a name says, and which inputs it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxsqueeze.errors import FormatError

_PACKED = r"P[1-8]"
_STREAM = rf"(?:{_PACKED}|H(?:[1-9]|1[0-2])(?:L[1-7])?)"
_RAW = r"Raw(?:16|32|64)"
_PATTERNS = (
    re.compile(r"(?P<layout>Fill)"),
    re.compile(rf"(?P<layout>Dense)_(?P<values>{_STREAM})(?P<scaled>_S)?(?P<converted>_C)?(?P<tail>_T)?"),
    re.compile(
        rf"(?P<layout>Gaps)_(?P<positions>{_STREAM})_(?P<values>{_STREAM}|{_RAW})(?P<scaled>_S)?(?P<converted>_C)?"
    ),
    re.compile(
        rf"(?P<layout>NM)_(?P<positions>{_PACKED})_(?P<values>{_STREAM}|{_RAW})(?P<scaled>_S)?(?P<converted>_C)?"
    ),
)

INPUT_TYPES = {
    "p": ("uint8",),
    "v": ("uint8",),
    "channels": ("uint8",),
    "codebook": ("float32",),
    "scales": ("float32",),
    "value": ("float16", "float32", "float64"),
    "values": ("float16", "float32", "float64"),
}


@dataclass(frozen=True)
class Spec:
    """An operator name, read."""

    layout: str  # Fill, Dense, Gaps, NM
    positions: str = ""  # kind of the position stream
    values: str = ""  # kind of the value stream, or Raw16, Raw32, Raw64
    scaled: bool = False
    converted: bool = False
    tail: bool = False

    @property
    def raw(self) -> bool:
        """Whether the values are stored as they are, without a codebook."""
        return self.values.startswith("Raw")

    @property
    def streams(self) -> tuple[str, ...]:
        """The kinds of the streams."""
        return tuple(kind for kind in (self.positions, self.values) if kind and not kind.startswith("Raw"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the node's inputs, in order."""
        if self.layout == "Fill":
            return ("value",)
        positions = ("p",) if self.positions else ()
        values = ("values",) if self.raw else ("codebook", "v")
        return positions + values + (("scales", "channels") if self.scaled else ())


def spec_of(op_type: str) -> Spec:
    """Reads an operator name; raises FormatError for one that this version does not know."""
    for pattern in _PATTERNS:
        if match := pattern.fullmatch(op_type):
            found = match.groupdict()
            if found.get("values") in ("Raw16", "Raw64") and (found["scaled"] or found["converted"]):
                break  # only float32 is scaled or converted
            return Spec(
                found["layout"],
                found.get("positions") or "",
                found.get("values") or "",
                *(bool(found.get(flag)) for flag in ("scaled", "converted", "tail")),
            )
    raise FormatError(f"operator '{op_type}' is not in format version 1; a newer onnxsqueeze may read this file")


def split_kind(kind: str) -> tuple[int, int]:
    """``"P5"`` gives (0, 5): no levels, 5 packed bits; ``"H6L3"`` gives (6, 3): 6 levels, 3 low bits."""
    if kind.startswith("P"):
        return 0, int(kind[1:])
    depth, _, low = kind[1:].partition("L")
    return int(depth), int(low or 0)
