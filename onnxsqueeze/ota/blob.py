"""Bytes given older ones, in the way that takes fewest (UPDATE.md, section 3.3)."""

from __future__ import annotations

from onnxsqueeze.errors import FormatError
from onnxsqueeze.ota import copies, zstd
from onnxsqueeze.ota.copies import Source

PREFIX, COPIES = 0, 1  # zstd with the old bytes before it; copies of old bytes, and what differs
SMALLEST = 24  # bytes: copies take about so many, even of equal ones


def compress(data: bytes | memoryview, source: Source) -> bytes:
    """The bytes, coded; none for none."""
    if not data:
        return b""
    found = [bytes([PREFIX]) + zstd.compress(data, source.data)]
    if len(found[0]) > SMALLEST and (other := copies.compress(data, source)) is not None:
        found.append(bytes([COPIES]) + other)
    return min(found, key=len)


def decompress(data: bytes | memoryview, nbytes: int, old: bytes | memoryview) -> bytes:
    """The ``nbytes`` that were compressed; raises FormatError where the bytes hold anything else."""
    if nbytes == 0 and not data:
        return b""
    if not data or data[0] not in (PREFIX, COPIES):
        raise FormatError("the update is damaged: its coding is not known")
    rest = memoryview(data)[1:]
    return zstd.decompress(rest, nbytes, old) if data[0] == PREFIX else copies.decompress(rest, nbytes, old)
