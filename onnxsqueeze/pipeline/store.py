"""A folder of results, each under a hash of all that it depends on: an interrupted run goes on where it stopped.

Entries are JSON, or arrays in ``.npz`` files, and carry a hash of what they hold. What does not match it is not
trusted: it is made again. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from onnxsqueeze.errors import ModelError

Made = TypeVar("Made")

MARK, FORMAT = "onnxsqueeze-work.json", 1
DRAFT, ABANDONED = ".part", 3600  # seconds after which nobody is writing it any more
TOOLS = ("onnxsqueeze", "onnxruntime", "onnx", "numpy", "scipy")  # whose versions results depend on


class Store:
    """Results of earlier runs; without a folder everything is made anew."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Makes the folder where it is not there; raises ModelError where it holds something else."""
        self._folder = None if folder is None else _opened(Path(folder))
        self._versions = {tool: version(tool) for tool in TOOLS} if folder is not None else {}
        self.taken, self.made, self.damaged = 0, 0, 0  # those of earlier runs, of this one, and not to be trusted
        self._own: set[Path] = set()

    def __bool__(self) -> bool:
        return self._folder is not None

    @property
    def told(self) -> str:
        """What was found in the folder, in words."""
        damaged = f"; {self.damaged} of the results in it were damaged, and made again" if self.damaged else ""
        if not self.taken:
            return f"the work folder held nothing for this run: {self.made} results are in it now{damaged}"
        return f"{self.taken} results were taken from the work folder, {self.made} made{damaged}"

    def recall(
        self,
        what: str,
        key: Mapping[str, Any],
        make: Callable[[], Made],
        pack: Callable[[Made], Any],
        unpack: Callable[[Any], Made],
    ) -> Made:
        """What was made for ``key`` before, else what ``make`` gives, which is kept.

        ``pack`` turns it into JSON values, ``unpack`` back; it raises ValueError, KeyError or TypeError for others.
        """
        path = self._path(what, key, ".json")
        if path is None:
            return make()
        if (kept := self._read(path, lambda file: unpack(_json(file)))) is not None:
            return kept
        made = make()
        value = json.dumps(pack(made))
        text = json.dumps({"sha256": _hash(value.encode()), "value": value})
        self._write(path, lambda draft: draft.write_text(text, encoding="utf-8"))
        return made

    def recall_arrays(self, what: str, key: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The same for arrays by name."""
        path = self._path(what, key, ".npz")
        if path is None:
            return make()
        if (kept := self._read(path, _arrays)) is not None:
            return kept
        made = make()
        self._write(path, lambda draft: _save(draft, made))
        return made

    def _path(self, what: str, key: Mapping[str, Any], suffix: str) -> Path | None:
        if self._folder is None:
            return None
        text = json.dumps({"what": what, "format": FORMAT, **self._versions, **key}, sort_keys=True)
        return self._folder / f"{what}-{_hash(text.encode())}{suffix}"

    def _read(self, path: Path, unpack: Callable[[Path], Made]) -> Made | None:
        try:
            kept = unpack(path)
        except FileNotFoundError:
            return None
        except Exception:  # numpy, zipfile and json raise all sorts for damaged files
            self.damaged += 1
            return None
        self.taken += path not in self._own
        return kept

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}{DRAFT}")
        try:
            write(draft)
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ModelError(f"cannot write to the work folder '{path.parent}': {error.strerror or error}") from error
        self.made += 1
        self._own.add(path)


def _opened(folder: Path) -> Path:
    mark = folder / MARK
    try:
        folder.mkdir(exist_ok=True)
        if not mark.exists():
            if any(folder.iterdir()):
                raise ModelError(f"'{folder}' holds other files; give an empty folder, or a new one, as work folder")
            mark.write_text(json.dumps({"format": FORMAT}), encoding="utf-8")
        for draft in folder.glob(f"*{DRAFT}"):  # of a run that was broken off
            if draft.stat().st_mtime < time.time() - ABANDONED:
                draft.unlink(missing_ok=True)
    except FileNotFoundError:
        raise ModelError(f"folder '{folder.parent}' does not exist; create it first") from None
    except OSError as error:
        raise ModelError(f"'{folder}' cannot be used as a work folder: {error.strerror or error}") from None
    return folder


def _json(path: Path) -> Any:
    kept = json.loads(path.read_bytes())
    if _hash(kept["value"].encode()) != kept["sha256"]:
        raise ValueError("damaged")
    return json.loads(kept["value"])


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as kept:
        arrays = {name.removeprefix("a."): kept[name] for name in kept.files if name.startswith("a.")}
        if kept["sha256"].tobytes().hex() != digest_of_arrays(arrays):
            raise ValueError("damaged")
    return arrays


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    digest = np.frombuffer(bytes.fromhex(digest_of_arrays(arrays)), np.uint8)
    named: dict[str, Any] = {f"a.{name}": np.asarray(array) for name, array in arrays.items()}
    with path.open("wb") as file:
        np.savez(file, sha256=digest, **named)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of_arrays(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over the names, types, shapes and values of arrays, in any order."""
    import numpy as np

    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        strings = array.dtype.hasobject
        found.update(repr(array.tolist()).encode() if strings else array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def digest_of_feeds(feeds: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over samples in their order."""
    return _hash(json.dumps([digest_of_arrays(feed) for feed in feeds]).encode())


def digest_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of files in their order."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return _hash(json.dumps(digests).encode())
