"""A comparison as Markdown, for pull requests."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxsqueeze.report import sparsity
from onnxsqueeze.report.expense import basis, residence, totals
from onnxsqueeze.report.layers import nbytes
from onnxsqueeze.report.units import error, percent, ratio, short, size

if TYPE_CHECKING:
    from onnxsqueeze.report.comparison import Comparison

LISTED = 10  # layers


def markdown(found: Comparison) -> str:
    """Headline, table of sizes, largest layers, outputs, notes and the command."""
    return "\n".join(_lines(found)) + "\n"


def plain(text: str, length: int = 80) -> str:
    """Text that no Markdown is read in: punctuation is escaped, and line breaks become spaces."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~@&$:^])", r"\\\1", " ".join(short(text, length).split()))


def code(text: str) -> str:
    """Text as code, inside a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"


def _lines(found: Comparison) -> Iterator[str]:
    before, after = found.original, found.compressed
    yield f"### {plain(before.name)}: {size(before.nbytes)} → {size(after.nbytes)}, {found.ratio:.2f}x smaller"
    yield ""
    yield from _table(
        ("", "before", "after", "ratio"),
        [
            ("file", size(before.nbytes), size(after.nbytes), ratio(before.nbytes, after.nbytes)),
            ("weights", size(before.weight_nbytes), size(after.weight_nbytes),
             ratio(before.weight_nbytes, after.weight_nbytes)),
            ("stored bits a weight", f"{before.bits:.2f}", f"{after.bits:.2f}", ratio(before.bits, after.bits)),
            ("zero weights", percent(before.zeros), percent(after.zeros), ""),
            *totals(found.expenses),
        ],
    )  # fmt: skip
    if found.expenses is not None:
        yield from [
            "",
            f"Traffic, energy and time are {plain(basis(found.expenses), 400)}. {residence(found.expenses)}",
        ]
    yield from _fidelity(found)
    yield from _details("Where the bytes went", _changes(found))
    yield from _details("The largest weights", _layers(found))
    if found.expenses is not None and found.expenses.break_even:
        rows = [(plain(row[0]), *row[1:]) for row in sparsity.rows(found.expenses, LISTED)]
        note = f"{plain(sparsity.sentence(found.expenses), 400)} {sparsity.EXPLAINED}"
        yield from _details("Where sparse pays", [*_table(sparsity.HEAD, rows), "", note])
    if found.notes:
        yield from ["", "Notes:", "", *(f"- {plain(note, 400)}" for note in found.notes)]
    if found.command:
        yield from ["", code(" ".join(found.command.split()))]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _details(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield from ["", f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _fidelity(found: Comparison) -> Iterator[str]:
    yield ""
    if found.verification is None or not found.verification.outputs:
        yield "The outputs were not compared."
        return
    samples, inputs = found.verification.samples, found.verification.inputs
    yield f"Outputs in onnxruntime, on {samples} input sets ({plain(inputs)}):"
    yield ""
    rows = [
        (
            plain(f.output),
            "exact" if f.exact else error(f.relative_error),
            "" if math.isnan(f.cosine) else f"{f.cosine:.6f}",
            "" if f.top1 is None else percent(f.top1, 2),
        )
        for f in found.verification.outputs
    ]
    yield from _table(("output", "relative error", "cosine", "same top-1"), rows)


def _changes(found: Comparison) -> list[str]:
    rows = [("original", "", size(found.original.nbytes))]
    total = found.original.nbytes
    for change in found.changes:
        total += change.nbytes
        rows.append(
            (plain(change.label), f"{'−' if change.nbytes < 0 else '+'}{size(abs(change.nbytes))}", size(total))
        )
    return list(_table(("pass" if found.by_pass else "stored as", "change", "size"), rows))


def _layers(found: Comparison) -> list[str]:
    rows = []
    for layer in sorted(found.layers, key=lambda layer: -nbytes(layer.before))[:LISTED]:
        a, b = layer.before, layer.after
        rows.append(
            (
                plain(layer.name, 60),
                plain(layer.op_type, 24),
                size(a.nbytes) if a else "",
                size(b.nbytes) if b else "folded away",
                ratio(a.nbytes, b.nbytes) if a and b else "",
                f"{b.bits:.2f}" if b else "",
                percent(b.zeros) if b else "",
                "" if layer.error is None else error(layer.error),
            )
        )
    return list(_table(("weight", "feeds", "before", "after", "ratio", "bits", "zeros", "error"), rows))
