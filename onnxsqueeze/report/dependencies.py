"""The dependency groups of a model: what goes together, how much of it can go, and what keeps the rest."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.compress import resolve
from onnxsqueeze.errors import ModelError
from onnxsqueeze.groups import Coverage, Group, Groups, analyse, coverage
from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import label
from onnxsqueeze.pipeline.staging import put, staging, writing
from onnxsqueeze.pipeline.unpack import unpack

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 4  # members in a table row


@dataclasses.dataclass(frozen=True, eq=False)
class Listing:
    """All groups of one file."""

    file: str
    groups: Groups
    coverage: Coverage
    seconds: float  # of the analysis


def listing(file: str) -> Listing:
    """Analyses a model, packed or not; raises SqueezeError."""
    path = resolve(file)
    model = Model.load(path)
    if model.is_packed:
        unpack(model)
    started = time.perf_counter()
    groups = analyse(model)
    return Listing(str(path), groups, coverage(groups), time.perf_counter() - started)


def facts(found: Listing) -> dict[str, Any]:
    """The listing, ready for JSON."""
    counts = found.coverage
    return {
        "file": found.file,
        "nodes": len(found.groups.trace.steps),
        "seconds": found.seconds,
        "coverage": {
            "channels": counts.channels,
            "removable": counts.removable,
            "share": counts.share,
            "output_channels": counts.outputs,
            "parameters": counts.parameters,
            "removable_parameters": counts.removable_parameters,
            "parameter_share": counts.parameter_share,
            "blocked": [{**dataclasses.asdict(cause), "channels": count} for cause, count in counts.blocked],
        },
        "groups": [_group(found.groups, group) for group in found.groups],
    }


def _names(groups: Groups, steps: tuple[int, ...]) -> list[str]:
    return list(dict.fromkeys(label(groups.trace.steps[step].node) for step in steps))


def _group(groups: Groups, group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "width": group.width,
        "removable": group.removable,
        "is_output": group.is_output,
        "blocked": None if group.blocked is None else dataclasses.asdict(group.blocked),
        "members": [
            {
                "tensor": member.tensor,
                "graph": groups.trace.scopes[member.scope].path,
                "axis": member.axis,
                "role": member.role,
                "positions_per_unit": member.positions.shape[1],
                "nodes": _names(groups, member.steps),
            }
            for member in group.members
        ],
        "nodes": _names(groups, group.steps),
    }


def state(group: Group) -> str:
    """Whether channels can go, and if not why, in a few words."""
    if group.blocked is not None:
        return str(group.blocked)
    if group.width > 1:
        return "free"
    return "only one" if group.positions == 1 else "only all together"


def show(found: Listing, console: Console) -> None:
    """The groups as a table, in graph order, and what they come to."""
    from onnxsqueeze.report.tables import table

    rows = [
        (group.id, f"{group.width:,}", *(_members(group, role) for role in ("producer", "consumer")), state(group))
        for group in found.groups
    ]
    console.print(table("Dependency groups", ["group", "units", "produced by", "read by", "state"], rows, left=5))
    counts = found.coverage
    if counts.blocked:
        reasons = [(f"{count:,}", str(cause)) for cause, count in counts.blocked]
        console.print(table("Channels that cannot go", ["channels", "because"], reasons, left=2))
    layers = "no float convolutions or matrix products whose channels are not graph outputs"
    if counts.channels:
        layers = (
            f"{counts.removable:,} of {counts.channels:,} channels of convolutions and matrix products "
            f"({100 * counts.share:.1f} %)"
        )
    console.print(
        f"{found.file}: {len(found.groups)} groups in {len(found.groups.trace.steps):,} nodes; "
        f"{layers}, and {100 * counts.parameter_share:.1f} % of the parameters can be removed; "
        f"{counts.outputs:,} more channels are graph outputs",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _members(group: Group, role: str) -> str:
    members = group.of(role)
    names = [
        f"{m.tensor}[{m.axis}]" + (f" ×{m.positions.shape[1]}" if m.positions.shape[1] > 1 else "") for m in members
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def draw(found: Listing, output: str) -> None:
    """Writes a picture of the groups on the graph; raises ModelError where the file cannot be written."""
    from onnxsqueeze.report.picture import picture

    target = Path(output)
    if target.suffix.lower() != ".svg":
        raise ModelError(f"picture '{output}' must end in .svg")
    if not Path(os.path.realpath(target)).parent.is_dir():
        raise ModelError(f"folder '{target.parent}' of the picture does not exist; create it first")
    with staging(target) as folder, writing(target):
        draft = folder / target.name
        draft.write_text(picture(found.groups, Path(found.file).name), encoding="utf-8")
        put(draft, target)
