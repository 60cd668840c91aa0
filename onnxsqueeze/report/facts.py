"""A result as plain facts, for machines; tables are drawn from the same facts."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxsqueeze.compress import Result
    from onnxsqueeze.pipeline.lower import Packed


@dataclasses.dataclass(frozen=True)
class Group:
    """All weights of one role and encoding."""

    role: str
    encoding: str
    tensors: int
    elements: int
    nbytes_before: int
    nbytes_after: int


def family(encoding: str) -> str:
    """The layout and stream kinds of an operator name in words, e.g. ``gaps + huffman``."""
    if not encoding:
        return "dense"
    layout, *parts = encoding.split("_")
    words = {"Dense": "codebook", "Gaps": "gaps", "NM": "N:M", "Fill": "fill"}[layout]
    if any(p.startswith("Raw") for p in parts):
        words += " + raw values"
    if any(p.startswith("H") for p in parts):
        words += " + huffman"
    return words + (" + scale" if "S" in parts else "")


def groups(weights: tuple[Packed, ...]) -> list[Group]:
    """The weights by role and encoding, largest first."""
    found: dict[tuple[str, str], list[Packed]] = defaultdict(list)
    for weight in weights:
        found[weight.role, family(weight.encoding)].append(weight)
    rows = [
        Group(
            role,
            encoding,
            len(members),
            sum(w.elements for w in members),
            sum(w.dense_nbytes for w in members),
            sum(w.nbytes for w in members),
        )
        for (role, encoding), members in found.items()
    ]
    return sorted(rows, key=lambda g: -g.nbytes_before)


def plain(value: Any) -> Any:
    """The same for JSON, which knows neither NaN nor infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def facts(result: Result) -> dict[str, Any]:
    """Everything that a result says, ready for JSON."""
    told = dataclasses.asdict(result)
    told["ratio"] = result.ratio
    told["groups"] = [dataclasses.asdict(g) for g in groups(result.weights)]
    return told
