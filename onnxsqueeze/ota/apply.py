"""Putting an update to use: checks, restores the new files beside the old ones, and only then puts them in place."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from onnxsqueeze.errors import FormatError, ModelError
from onnxsqueeze.ota import blob, container, structure
from onnxsqueeze.ota.bundle import Bundle, digest, read
from onnxsqueeze.ota.container import Update
from onnxsqueeze.ota.diff import FILES, STRUCTURE
from onnxsqueeze.ota.place import check_external, place
from onnxsqueeze.pipeline.staging import check_distinct, check_output, staging, writing

LARGEST_UPDATE = 1 << 32
MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError)


@dataclass(frozen=True)
class Applied:
    """What ``apply`` did."""

    old: str
    update: str
    output: str
    nbytes: int  # of the new model
    seconds: float


def apply(old: str | os.PathLike[str], update: str | os.PathLike[str], output: str | os.PathLike[str]) -> Applied:
    """Restores the new model, byte for byte; ``output`` may be ``old`` itself where both are single files.

    Raises SqueezeError where the update is damaged or meant for another model; no file is written or changed then.
    """
    started = time.perf_counter()
    target, source = Path(output), Path(update)
    check_output(target)
    found = _read(source)
    before = read(Path(old))
    if before.nbytes != found.old_nbytes or before.identity()[: container.OLD_DIGEST] != found.old_digest:
        if before.identity() == found.new_digest:
            raise ModelError(f"'{old}' is what '{source}' makes of an older model: it is up to date already")
        raise ModelError(f"'{source}' is not for '{old}', whose SHA-256 differs from that of the model it was made for")
    names = [item.name for item in found.targets]
    check_distinct(target, source)
    if len(before.files) > 1 or len(names) > 1:
        check_distinct(target, *before.paths)
        check_external(target, names[1:])
    with staging(target) as folder, writing(target):
        files = restore(before, found)
        place(folder, target, list(zip(names, files, strict=True)))
    return Applied(str(old), str(update), str(output), found.new_nbytes, time.perf_counter() - started)


def restore(old: Bundle, update: Update) -> list[bytes | memoryview]:
    """The new files, checked by their hash; raises FormatError."""
    try:
        files = _restored(old, update)
    except MALFORMED as error:  # no update made by ``diff`` gets here: its checksum and the old hash have been checked
        raise FormatError(f"the update is damaged: {error}") from error
    if [len(file) for file in files] != [item.nbytes for item in update.targets] or digest(files) != update.new_digest:
        raise FormatError("the update is damaged: what it makes does not have the SHA-256 that it states")
    return files


def _restored(old: Bundle, update: Update) -> list[bytes | memoryview]:
    if update.method == STRUCTURE:
        return list(structure.restore(old, update.targets, update.sections))
    if update.method == FILES and len(update.sections) == 1:
        return _cut(blob.decompress(update.sections[0].data, update.new_nbytes, old.joined()), update)
    raise FormatError("the update is damaged: its method is not known")


def _cut(joined: bytes, update: Update) -> list[bytes | memoryview]:
    """The files in a run of bytes."""
    reader = container.Reader(joined)
    return [reader.take(item.nbytes) for item in update.targets]


def _read(path: Path) -> Update:
    try:
        return container.read(_bytes(path))
    except FormatError as error:
        raise FormatError(f"'{path}': {error}") from None


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ModelError(f"update '{path}' does not exist" if not path.exists() else f"'{path}' is no regular file")
    if path.stat().st_size > LARGEST_UPDATE:
        raise FormatError(f"'{path}' is too large for an update")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error
