"""The files of a model as one run of bytes: the model file, then its external data, sorted by name."""

from __future__ import annotations

import hashlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.dense import external_files
from onnxsqueeze.model.load import parse

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Bundle:
    """A model as it lies on disk."""

    path: Path
    names: tuple[str, ...]  # of the external files, which lie beside the model
    files: tuple[memoryview, ...]  # the model, then the external files; read-only

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files lie."""
        return (self.path, *(self.path.parent / name for name in self.names))

    def identity(self) -> bytes:
        """SHA-256 of all files, one after another."""
        return digest(self.files)

    def joined(self) -> bytes | memoryview:
        """All files in one run; no copy where there is one."""
        return self.files[0] if len(self.files) == 1 else b"".join(self.files)


def digest(parts: Iterable[bytes | memoryview]) -> bytes:
    """SHA-256 of the parts, one after another."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.digest()


def read(path: Path) -> Bundle:
    """The files of the model in ``path``; raises ModelError where one is missing or no ONNX."""
    model = parse(path)
    folder = Path(os.path.realpath(path.parent))
    files = sorted(external_files(model, path.parent))
    if far := next((file for file in files if file.parent != folder), None):
        raise ModelError(f"external data '{far}' of '{path}' must lie beside the model; save the model again")
    names = tuple(file.name for file in files)
    return Bundle(path, names, tuple(_mapped(file) for file in (path, *files)))


def _mapped(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error
