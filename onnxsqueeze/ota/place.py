"""Finished files take their places: written beside, synced, then renamed, external data first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.interrupts import held_back
from onnxsqueeze.pipeline.staging import put

SUFFIX = ".osq"


def check_update_output(output: Path) -> None:
    """Refuses a place for an update that cannot be written, before any work is done."""
    target = Path(os.path.realpath(output))
    if target.suffix.lower() != SUFFIX:
        raise ModelError(f"output '{output}' must end in {SUFFIX}")
    if not target.parent.is_dir():
        raise ModelError(f"folder '{target.parent}' of the output does not exist; create it first")
    if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):
        raise ModelError(f"output '{output}' cannot be written: it is there and is no regular file, or write-protected")


def check_external(output: Path, names: Sequence[str]) -> None:
    """Refuses external data that would replace a file, which may belong to another model."""
    target = Path(os.path.realpath(output))
    for name in names:
        if name == target.name:
            raise ModelError(f"output '{output}' has the name of its external data; give another name")
        if (target.parent / name).exists():
            raise ModelError(f"'{name}' is there already, beside output '{output}'; write into another folder")


def place(folder: Path, output: Path, files: Sequence[tuple[str, bytes | memoryview]]) -> None:
    """Writes the files into the folder of drafts and moves them beside the output, the first one as the output."""
    target = Path(os.path.realpath(output))
    drafts = [(folder / f"{number}", name, data) for number, (name, data) in enumerate(files)]
    for draft, _, data in drafts:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    with held_back():
        for draft, name, _ in drafts[1:]:
            draft.replace(target.parent / name)
        put(drafts[0][0], target)
