"""Two models compared: sizes, weights, where the bytes went, and how close the outputs are."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.report import layers
from onnxsqueeze.report.layers import Layer, nbytes

if TYPE_CHECKING:
    from onnxsqueeze.compress import Result
    from onnxsqueeze.report.expense import Expenses
    from onnxsqueeze.report.stored import Stored
    from onnxsqueeze.verify import Verification


@dataclasses.dataclass(frozen=True)
class File:
    """One of the two models."""

    name: str  # as it was given
    nbytes: int  # external data included
    sha256: str  # of the .onnx file
    opset: int
    nodes: int
    tensors: int  # weights of 64 elements or more
    elements: int  # in them
    weight_nbytes: int  # that they take as stored
    zeros: float  # fraction of the elements

    @property
    def bits(self) -> float:
        """Stored bits a weight."""
        return 8 * self.weight_nbytes / max(1, self.elements)


@dataclasses.dataclass(frozen=True)
class Change:
    """One step of the way from the original's size to the compressed one's."""

    label: str
    nbytes: int  # negative where bytes were saved


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that a report says."""

    original: File
    compressed: File
    passes: str  # "" where the file does not say how it was made
    layers: tuple[Layer, ...]
    by_pass: bool  # whether the changes are those of passes, or of ways of storing
    changes: tuple[Change, ...]  # add up to the difference of the sizes
    verification: Verification | None
    expenses: Expenses | None  # None where they cannot be estimated
    notes: tuple[str, ...]
    command: str  # that makes the compressed file

    @property
    def ratio(self) -> float:
        """Original bytes over compressed bytes."""
        return self.original.nbytes / self.compressed.nbytes


def compare(
    before: Stored,
    after: Stored,
    found: tuple[Layer, ...],
    verification: Verification | None = None,
    expenses: Expenses | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Puts together what is known of two files: their weights side by side, outputs, and what they cost to run."""
    told = [*notes]
    if after.inlined:
        told.append(
            f"'{after.name}' was written with --inline: its packed weights cannot be told from other tensors, so the "
            "weights after compression are not shown one by one"
        )
    return Comparison(
        _file(before, [layer.before for layer in found]),
        _file(after, [layer.after for layer in found]),
        after.passes,
        found,
        False,
        tuple(_by_storage(before, after, found)),
        verification,
        expenses,
        tuple(told),
        _command(before.name, after),
    )


def with_passes(found: Comparison, result: Result, command: str) -> Comparison:
    """The comparison with what only the run itself knows: what each pass saved, and the line that was given."""
    told = dataclasses.replace(found, command=command, passes=result.passes)
    return told if result.copied else dataclasses.replace(told, by_pass=True, changes=tuple(_by_pass(result)))


def _file(found: Stored, sides: Sequence[layers.Side | None]) -> File:
    there = [side for side in sides if side is not None]
    elements = sum(side.elements for side in there)
    zeros = sum(side.zeros * side.elements for side in there) / max(1, elements)
    weights = sum(side.nbytes for side in there)
    digest = _sha256(found.path)
    return File(found.name, found.nbytes, digest, found.opset, found.nodes, len(there), elements, weights, zeros)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_pass(result: Result) -> list[Change]:
    """What each pass saved, as the weights would have been stored after it; and all that are no weights."""
    changes = [Change(step.text, step.nbytes_after - step.nbytes_before) for step in result.steps]
    rest = result.compressed_nbytes - result.original_nbytes - sum(change.nbytes for change in changes)
    return [*changes, Change("graph, names and decode functions", rest)]


def _by_storage(before: Stored, after: Stored, found: Sequence[Layer]) -> list[Change]:
    """What each way of storing saved; tensors that are gone or new; decode functions; and the rest of the graph."""
    saved: dict[str, int] = defaultdict(int)
    for layer in found:
        if layer.after is None:
            saved["weights folded into others"] -= nbytes(layer.before)
        elif layer.before is None:
            saved["new weights"] += layer.after.nbytes
        elif layer.saved:
            saved[f"stored as {layer.after.encoding}"] -= layer.saved
    changes = [Change(label, value) for label, value in sorted(saved.items(), key=lambda item: item[1])]
    functions = after.functions - before.functions
    changes += [Change("decode functions", functions)] if functions else []
    rest = after.nbytes - before.nbytes - sum(change.nbytes for change in changes)
    return [*changes, Change("graph and names", rest)]


def _command(original: str, after: Stored) -> str:
    if not after.passes:
        return ""
    inline = ["--inline"] if after.inlined else []
    return shlex.join(["onnxsqueeze", original, after.name, "--passes", after.passes, *inline])


def facts(found: Comparison) -> dict[str, Any]:
    """The comparison, ready for JSON."""
    told = dataclasses.asdict(found)
    told["ratio"] = found.ratio
    for layer, of in zip(told["layers"], found.layers, strict=True):
        for key, side in (("before", of.before), ("after", of.after)):
            if side is not None:
                layer[key]["bits"] = side.bits
    return told
