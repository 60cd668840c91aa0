"""Damaged, forged and misplaced updates are refused in one sentence, and the installed model stays as it is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from pairs import Versions, compressed, retrained, saved, small

from onnxsqueeze.cli import main
from onnxsqueeze.errors import SqueezeError
from onnxsqueeze.ota import apply, blob, container, diff
from onnxsqueeze.ota.bundle import read
from onnxsqueeze.ota.container import MAGIC, Section, Target
from onnxsqueeze.ota.copies import Source
from onnxsqueeze.ota.zstd import compress

ROUNDS = 150


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An installed model, and an update of it."""
    folder = tmp_path_factory.mktemp("hostile")
    old = compressed(small(), folder / "old.onnx")
    new = compressed(retrained(small(), 0.3), folder / "new.onnx", base=old)
    diff(old, new, folder / "u.osq")
    update = (folder / "u.osq").read_bytes()
    assert container.read(update).sections[4].nbytes > 1000, "weights are coded given older ones"
    return old, update


def refused(old: Path, update: bytes, folder: Path) -> str:
    """Applies what must not be applied over the installed model; the sentence that it is refused with."""
    path, before = folder / "u.osq", old.read_bytes()
    path.write_bytes(update)
    with pytest.raises(SqueezeError) as found:
        apply(old, path, old)
    assert old.read_bytes() == before
    assert not list(old.parent.glob(".onnxsqueeze-*"))
    assert "\n" not in str(found.value)
    return str(found.value)


def sealed(data: bytes) -> bytes:
    """The update with a checksum that fits, as an attacker makes it."""
    body = data[len(MAGIC) + 6 :]
    return data[: len(MAGIC) + 2] + zlib.crc32(body).to_bytes(4, "little") + body


def test_every_truncation(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    old, update = pair
    for length in [*range(0, 150, 3), *range(150, len(update), 1 + len(update) // 40)]:
        refused(old, update[:length], tmp_path)


def test_accidents(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    old, update = pair
    rng = random.Random(1)
    for _ in range(ROUNDS):
        damaged = bytearray(update)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        refused(old, bytes(damaged), tmp_path)
    refused(old, update + b"\0", tmp_path)


def test_attacks_on_the_container(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    old, update = pair
    rng = random.Random(2)
    for _ in range(ROUNDS):
        damaged = bytearray(update)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(MAGIC) + 6, len(damaged))] = rng.randrange(256)
        if bytes(damaged) != update:
            refused(old, sealed(bytes(damaged)), tmp_path)


@pytest.mark.parametrize("number", range(6))
def test_attacks_on_each_section(pair: tuple[Path, bytes], tmp_path: Path, number: int) -> None:
    """Sections changed below their compression, so that every reader is met."""
    old, update = pair
    rng = random.Random(number)
    made = container.read(update)
    bundle = read(old)
    prefix = {0: _skeleton(old), 3: bytes(bundle.joined())}.get(number, b"")
    section = made.sections[number]
    coded = number >= 4
    plain = bytes(section.data) if coded else blob.decompress(section.data, section.nbytes, prefix)
    for _ in range(60):
        damaged = _mutated(plain, rng)
        if damaged == plain:
            continue
        sections = list(made.sections)
        sections[number] = Section(len(damaged), damaged if coded else blob.compress(damaged, Source(prefix)))
        refused(old, container.write(replace(made, sections=tuple(sections))), tmp_path)


def _skeleton(path: Path) -> bytes:
    from onnxsqueeze.ota.wire import dissect

    return dissect(read(path).files[0]).skeleton


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            changed[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[place : place + rng.randint(1, 8)]
        elif kind == 2:
            changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        else:
            changed[place : place + 1] = b"\xff\xff\xff\xff\xff\xff\xff\x7f"
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "said"),
    [("../evil.onnx", "no model has"), ("/tmp/evil", "no model has"), ("a\\b", "no model has"), ("..", "no model has")],
)
def test_files_outside_the_folder(pair: tuple[Path, bytes], tmp_path: Path, name: str, said: str) -> None:
    old, update = pair
    made = container.read(update)
    forged = replace(made, targets=(*made.targets, Target(name, 5)))
    assert said in refused(old, container.write(forged), tmp_path)


def test_bombs(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    """A section that becomes far more than it may, or than it states."""
    old, update = pair
    made = container.read(update)
    bomb = bytes([blob.PREFIX]) + compress(bytes(64 << 20), b"", 3)
    assert len(bomb) < 10_000
    for stated in (64 << 20, 1000, 1 << 62):
        sections = (*made.sections[:2], Section(stated, bomb), *made.sections[3:])
        refused(old, container.write(replace(made, sections=sections)), tmp_path)
    huge = (Target("", 1 << 40),)
    assert "far larger" in refused(old, container.write(replace(made, targets=huge)), tmp_path)


def test_other_methods_and_versions(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    old, update = pair
    made = container.read(update)
    assert "method" in refused(old, container.write(replace(made, method=9)), tmp_path)
    assert "version 3" in refused(old, MAGIC + b"\3\0" + update[len(MAGIC) + 2 :], tmp_path)
    assert "no update" in refused(old, old.read_bytes(), tmp_path)
    assert "SHA-256" in refused(old, container.write(replace(made, new_digest=bytes(32))), tmp_path)


def test_a_wrong_old_model(pair: tuple[Path, bytes], versions: Versions, tmp_path: Path) -> None:
    other = saved(small(), tmp_path / "other.onnx")
    for wrong in (other, compressed(small(), tmp_path / "close.onnx", "share{bits=5}")):
        assert "is not for" in refused(wrong, pair[1], tmp_path)


def test_an_update_that_was_applied_already(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    (tmp_path / "u.osq").write_bytes(pair[1])
    apply(pair[0], tmp_path / "u.osq", tmp_path / "new.onnx")
    assert "up to date" in refused(tmp_path / "new.onnx", pair[1], tmp_path)


def test_the_command_says_it_in_one_line(
    pair: tuple[Path, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "u.osq").write_bytes(pair[1][:-3])
    assert main(["ota", "apply", str(pair[0]), str(tmp_path / "u.osq"), "-o", str(tmp_path / "n.onnx")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "n.onnx").exists()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.05, 0.4, 0.9])
def test_interrupted(pair: tuple[Path, bytes], tmp_path: Path, stop: signal.Signals, delay: float) -> None:
    """Whenever the run ends, the installed model is the old one or the new one."""
    old, update = pair
    installed, path = tmp_path / "model.onnx", tmp_path / "u.osq"
    installed.write_bytes(old.read_bytes())
    path.write_bytes(update)
    command = [sys.executable, "-m", "onnxsqueeze.cli", "ota", "apply", str(installed), str(path), "-o", str(installed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    time.sleep(delay)
    process.send_signal(stop)
    process.communicate(timeout=60)
    digest = read(installed).identity()
    assert digest in (read(old).identity(), container.read(update).new_digest)
    if digest != container.read(update).new_digest:
        apply(installed, path, installed)  # and it can be made good
