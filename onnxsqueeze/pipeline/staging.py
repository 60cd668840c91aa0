"""Where an output is made: a hidden folder beside it, from which finished files are renamed into place."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.interrupts import held_back

PREFIX = ".onnxsqueeze-"
SWEEPS = 100  # attempts at removing a folder that something is still written to

_open: set[Path] = set()  # folders of this process


def data_file(path: Path) -> Path:
    """Where the external data of a model that we write lies."""
    return path.with_name(path.name + ".data")


def check_output(output: Path) -> None:
    """Refuses an output that cannot be written, before any work is done."""
    target = Path(os.path.realpath(output))
    if target.is_dir():
        raise ModelError(f"output '{output}' is a folder; name a file in it")
    if target.suffix.lower() != ".onnx":
        raise ModelError(f"output '{output}' must end in .onnx")
    if not target.parent.is_dir():
        raise ModelError(f"folder '{target.parent}' of the output does not exist; create it first")
    for file in (target, data_file(target)):
        if file.exists() and not file.is_file():
            raise ModelError(f"output '{output}' cannot be written: '{file.name}' is there and is no regular file")
        if file.exists() and not os.access(file, os.W_OK):
            raise ModelError(f"output '{output}' cannot be written: '{file.name}' is there and is write-protected")


def check_distinct(output: Path, first: Path, *others: Path) -> None:
    """Refuses an output that would replace a file that is read, also where links hide that."""
    target = Path(os.path.realpath(output))
    for source in (first, *others):
        for file in (target, data_file(target)):
            if file.exists() and source.exists() and file.samefile(source):
                what = "is the input itself" if source == first else f"would replace '{source}', a part of the input"
                raise ModelError(f"output '{output}' {what}; give another name, the input is never changed")


@contextmanager
def staging(output: Path | None) -> Iterator[Path]:
    """A folder for drafts on the output's file system; it goes at the end, and with it what killed runs have left."""
    parent = Path(tempfile.gettempdir()) if output is None else Path(os.path.realpath(output)).parent
    folder, lock = None, -1
    try:
        with held_back(), _as_refusal(output):
            _remove_stale(parent)
            folder, lock = _create(parent)
        yield folder
    finally:
        with held_back():
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
                _open.discard(folder)
            if lock >= 0:
                os.close(lock)


def sweep() -> None:
    """Removes the folders of this process, for an end in the middle of things, where other threads still write."""
    for folder in list(_open):
        gone = folder.with_name(f"{folder.name}-gone")
        with suppress(OSError):  # by another name, so that nothing more is made in it
            folder = folder.rename(gone)
        for _ in range(SWEEPS):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.01)


@contextmanager
def writing(output: Path | None) -> Iterator[None]:
    """Names the output, not the draft, in errors about files that cannot be written."""
    try:
        with _as_refusal(output):
            yield
    except ModelError as error:
        if isinstance(error.__cause__, OSError):
            raise _refusal(output, error.__cause__) from error.__cause__
        raise


def put(draft: Path, output: Path) -> None:
    """Renames a finished draft, which lies in a folder of ``staging``, into place: external data first."""
    target = Path(os.path.realpath(output))
    with held_back(), _as_refusal(output):
        if data_file(draft).exists():
            data_file(draft).replace(data_file(target))
        draft.replace(target)
        _sync(target.parent)


def _create(parent: Path) -> tuple[Path, int]:
    """A new folder, and a lock on it that lives as long as this process."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        _open.add(folder)
        if sys.platform == "win32":
            return folder, -1
        lock = _locked(folder, wait=True)
        if lock is not None and folder.exists():  # else another run took it for a stale one
            return folder, lock
        if lock is not None:
            os.close(lock)


def _remove_stale(parent: Path) -> None:
    """Removes folders whose makers were killed: those that nobody holds a lock on."""
    if sys.platform == "win32":
        return
    for folder in parent.glob(f"{PREFIX}*"):
        lock = _locked(folder, wait=False)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


if sys.platform != "win32":
    import fcntl

    def _locked(folder: Path, wait: bool) -> int | None:
        """A lock on a folder; None where there is no such folder of ours, or another process holds it."""
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(handle)
            return None
        return handle


def _sync(folder: Path) -> None:
    """Makes renames in a folder last."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _as_refusal(output: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal(output, error) from error


def _refusal(output: Path | None, error: OSError) -> ModelError:
    what = "temporary files" if output is None else f"output '{output}'"
    return ModelError(f"{what} cannot be written: {error.strerror or error}")
