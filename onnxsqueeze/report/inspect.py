"""The weights of a model: where they are, what they feed, how large and how varied they are, how they are stored."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxsqueeze.report import stored

if TYPE_CHECKING:
    from rich.console import Console

    from onnxsqueeze.model.weights import Use


@dataclasses.dataclass(frozen=True)
class Row:
    """One weight."""

    name: str
    feeds: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int  # as stored
    share: float  # of the file
    zeros: float
    distinct: int
    encoding: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """All weights of one file."""

    file: str
    nbytes: int
    opset: int
    passes: str  # the pipeline that made the file, "" where it is no output of ours
    inlined: bool  # weights were packed, but can no longer be told from others
    rows: tuple[Row, ...]


def listing(file: str) -> Listing:
    """Reads a model, packed or not; raises SqueezeError."""
    found = stored.read(file)
    rows = []
    for weight in found.model.weights():
        values = weight.values()
        encoding, nbytes = found.place(weight)
        rows.append(
            Row(
                weight.name,
                ", ".join(sorted({_user(use) for use in weight.uses})) or "nothing",
                weight.role,
                weight.shape,
                str(weight.dtype),
                nbytes,
                nbytes / found.nbytes,
                1 - np.count_nonzero(values) / values.size,
                len(np.unique(values)),
                encoding,
            )
        )
    rows.sort(key=lambda r: -r.nbytes)
    return Listing(str(found.path), found.nbytes, found.opset, found.passes, found.inlined, tuple(rows))


def _user(use: Use) -> str:
    """The operator and name of a node; nodes without a name have a label that begins with their operator."""
    return use.node if use.node.startswith(f"{use.op_type} -> ") else f"{use.op_type} {use.node}"


def facts(found: Listing) -> dict[str, Any]:
    """The listing, ready for JSON."""
    return dataclasses.asdict(found)


def show(found: Listing, console: Console) -> None:
    """The listing as a table, largest first."""
    from onnxsqueeze.report.tables import count, table
    from onnxsqueeze.report.units import size

    rows = [
        (
            r.name,
            r.feeds,
            "×".join(map(str, r.shape)),
            r.encoding if r.encoding != "dense" else r.dtype,
            size(r.nbytes),
            f"{100 * r.share:.1f} %",
            f"{100 * r.zeros:.1f} %",
            f"{r.distinct:,}",
        )
        for r in found.rows
    ]
    columns = ["weight", "feeds", "shape", "stored as", "bytes", "of file", "zeros", "distinct"]
    console.print(table("Weights", columns, rows, left=4))
    held, weights = sum(r.nbytes for r in found.rows), count(len(found.rows), "weight")
    made = f", made by {found.passes}" if found.passes else ""
    console.print(
        f"{found.file}: {size(found.nbytes)}, opset {found.opset}, {weights} of 64 elements or more "
        f"({100 * held / found.nbytes:.1f} % of the file){made}",
        soft_wrap=True,
    )
    if found.inlined:
        console.print(
            "note: the file was written with --inline: no packed weights can be recognised; listed are the "
            "parts that its graph decodes",
            soft_wrap=True,
        )
