"""The weights of a model: where they are, what they feed, how large and how varied they are, how they are stored."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxsqueeze.compress import resolve
from onnxsqueeze.model import Model
from onnxsqueeze.model.dense import external_files
from onnxsqueeze.pipeline.stamp import is_inlined, passes_of
from onnxsqueeze.pipeline.unpack import unpack

if TYPE_CHECKING:
    from rich.console import Console


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
    path = resolve(file)
    model = Model.load(path)
    total = path.stat().st_size + sum(f.stat().st_size for f in external_files(model.proto, path.parent))
    passes, inlined = passes_of(model), is_inlined(model)
    stored = {w.name: (w.encoding, w.nbytes) for w in unpack(model)} if model.is_packed else {}
    rows = []
    for weight in model.weights():
        values = weight.values()
        encoding, nbytes = stored.get(weight.name, ("dense", weight.nbytes))
        rows.append(
            Row(
                weight.name,
                ", ".join(sorted({f"{u.op_type} {u.node}" for u in weight.uses})) or "nothing",
                weight.role,
                weight.shape,
                str(weight.dtype),
                nbytes,
                nbytes / total,
                1 - np.count_nonzero(values) / values.size,
                len(np.unique(values)),
                encoding,
            )
        )
    rows.sort(key=lambda r: -r.nbytes)
    return Listing(str(path), total, model.opset, passes, inlined, tuple(rows))


def facts(found: Listing) -> dict[str, Any]:
    """The listing, ready for JSON."""
    return dataclasses.asdict(found)


def show(found: Listing, console: Console) -> None:
    """The listing as a table, largest first."""
    from onnxsqueeze.report.tables import size, table

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
    weights = sum(r.nbytes for r in found.rows)
    made = f", made by {found.passes}" if found.passes else ""
    console.print(
        f"{found.file}: {size(found.nbytes)}, opset {found.opset}, {len(found.rows)} weights of 64 elements or more "
        f"({100 * weights / found.nbytes:.1f} % of the file){made}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if found.inlined:
        console.print(
            "note: the file was written with --inline: no packed weights can be recognised; listed are the "
            "parts that its graph decodes",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
