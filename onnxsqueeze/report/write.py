"""Text files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.staging import put, staging, writing


def check_text(output: Path, suffixes: Sequence[str], *inputs: str) -> None:
    """Refuses a text file that cannot be written or would replace an input, before any work is done."""
    target = Path(os.path.realpath(output))
    if target.is_dir():
        raise ModelError(f"output '{output}' is a folder; name a file in it")
    if target.suffix.lower() not in suffixes:
        raise ModelError(f"output '{output}' must end in {' or '.join(suffixes)}")
    if not target.parent.is_dir():
        raise ModelError(f"folder '{target.parent}' of the output does not exist; create it first")
    if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):
        raise ModelError(f"output '{output}' cannot be written: it is write-protected, or no regular file")
    for source in map(Path, inputs):
        if target.exists() and source.exists() and target.samefile(source):
            raise ModelError(f"output '{output}' is the input itself; give another name, the input is never changed")


def write_text(output: Path, text: str) -> None:
    """Writes a text file in UTF-8; raises ModelError where that fails, and the file is as before then."""
    with staging(output) as folder, writing(output):
        draft = folder / "draft"
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        put(draft, output)
