"""Bytes given older ones: exact, never much larger than what bsdiff4 and zstd make of them, and safe when forged."""

from __future__ import annotations

import random

import bsdiff4
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.save import varint
from onnxsqueeze.ota import blob, copies, zstd
from onnxsqueeze.ota.copies import BZIP2, MODEL, ZSTD, Source

OVERHEAD = 24  # bytes of lengths and codings


def edited(old: bytes, rng: random.Random) -> bytes:
    """Bytes with parts moved, doubled, left out, put in and changed a little."""
    new = bytearray(old)
    for _ in range(rng.randrange(8)):
        place, far = rng.randrange(len(new) + 1), rng.randrange(len(new) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            new[place:place] = rng.randbytes(rng.randrange(200))
        elif kind == 1:
            del new[place : place + rng.randrange(200)]
        elif kind == 2:
            new[place:place] = new[far : far + 500]
        else:
            new[place : place + 400 : 4] = bytes((b + 1) % 256 for b in new[place : place + 400 : 4])
    return bytes(new)


@given(st.integers(0, 2**32), st.sampled_from([2, 3, 256]), st.integers(0, 3000))
def test_round_trip(seed: int, letters: int, count: int) -> None:
    rng = random.Random(seed)
    old = bytes(rng.randrange(letters) for _ in range(count))
    new = edited(old, rng)
    coded = blob.compress(new, Source(old))
    assert blob.decompress(coded, len(new), old) == new
    assert len(coded) <= 1.01 * min(len(bsdiff4.diff(old, new)), len(zstd.compress(new, old)) + OVERHEAD)


def test_repeated_bytes_take_no_longer() -> None:
    """Runs of one byte, on which a plain search compares all with all."""
    old, new = bytes(1 << 20) + b"\1" * 5000, bytes(3 << 20) + b"\1" * 4000 + bytes(70_000)
    assert len(blob.compress(new, Source(old))) < 200


@pytest.mark.parametrize("coding", [ZSTD, BZIP2, MODEL])
def test_copies_are_found(coding: int) -> None:
    rng = random.Random(coding)
    old = rng.randbytes(20_000)
    new = rng.randbytes(100) + old[9000:] + old[:9000]
    coded = copies.compress(new, Source(old))
    assert coded is not None and len(coded) < 200
    assert copies.decompress(coded, len(new), old) == new


def part(data: bytes, stated: int | None = None, coding: int = ZSTD) -> bytes:
    coded = zstd.compress(data, b"")
    return bytes([coding]) + varint(len(data) if stated is None else stated) + varint(len(coded)) + coded


def steps(*numbers: int) -> bytes:
    return b"".join(map(varint, numbers))


OLD = bytes(range(100))
ATTACKS = {
    "behind the end": part(steps(2 * 95, 10, 0)) + part(bytes(10)) + part(b""),
    "before the begin": part(steps(1, 10, 0)) + part(bytes(10)) + part(b""),
    "far away": part(steps(1 << 34, 10, 0)) + part(bytes(10)) + part(b""),
    "too many bytes": part(steps(0, 10, 1 << 34)) + part(bytes(10)) + part(b""),
    "too few bytes": part(steps(0, 9, 0)) + part(bytes(9)) + part(b""),
    "another length": part(steps(0, 10, 0)) + part(bytes(9)) + part(b""),
    "others are missing": part(steps(0, 5, 5)) + part(bytes(5)) + part(b""),
    "bytes behind": part(steps(0, 10, 0)) + part(bytes(10)) + part(b"") + b"\0",
    "half a copy": part(steps(0, 10)) + part(bytes(10)) + part(b""),
    "endless number": part(b"\xff" * 12) + part(bytes(10)) + part(b""),
    "long number": part(b"\xff" * 7 + b"\1\0\0") + part(bytes(10)) + part(b""),
    "empty copies": part(bytes(3 * 1000)) + part(b"") + part(b""),
    "bomb": part(steps(0, 10, 0)) + part(bytes(1 << 22), 10) + part(b""),
    "huge": part(steps(0, 10, 0)) + part(bytes(10), 1 << 60) + part(b""),
    "unknown coding": part(steps(0, 10, 0)) + part(bytes(10), None, 7) + part(b""),
    "no bzip2": part(steps(0, 10, 0)) + part(bytes(10), None, BZIP2) + part(b""),
    "no model": part(steps(0, 10, 0)) + part(bytes(10), None, MODEL) + part(b""),
    "nothing": b"",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_forged_copies_are_refused(attack: str) -> None:
    with pytest.raises(FormatError):
        copies.decompress(ATTACKS[attack], 10, OLD)


def test_the_forger_knows_the_format() -> None:
    made = part(steps(2 * 3, 6, 2, 2 * 10, 0, 2)) + part(bytes(6)) + part(b"abcd")
    assert copies.decompress(made, 10, OLD) == OLD[3:9] + b"abcd"


def test_damaged_copies() -> None:
    rng = random.Random(0)
    old = rng.randbytes(5000)
    new = edited(old, rng)[:4000] + old[:1000]
    coded = blob.compress(new, Source(old))
    for _ in range(300):
        damaged = bytearray(coded)
        damaged[rng.randrange(len(coded))] ^= 1 << rng.randrange(8)
        try:
            assert len(blob.decompress(damaged, len(new), old)) == len(new)
        except FormatError as error:
            assert str(error)
