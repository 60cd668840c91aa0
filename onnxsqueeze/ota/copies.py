"""Bytes as copies of old ones, what differs in those, and what is new (UPDATE.md, section 3.4), after Percival 2003."""

from __future__ import annotations

import bz2
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.save import varint
from onnxsqueeze.ota import zstd
from onnxsqueeze.ota.container import Reader
from onnxsqueeze.runtime.copies import LONGEST, Old
from onnxsqueeze.runtime.delta import Decoder, Encoder

Array = npt.NDArray[Any]

ZSTD, BZIP2, MODEL = 0, 1, 2  # how the steps, the copied and the other bytes are coded
ROW = 4  # bytes: copied ones are, more often than not, of floats
SLACK = 64  # bytes that the steps may take beyond those of the new model
FEWEST = 8  # bytes of the new model for a copy, the first and the last aside
LENGTH = "the update is damaged: its copies do not have the length that it states"
MODELLED = 64 << 20  # copied bytes that are modelled at most: some 2 million a second


class Source:
    """Old bytes; made ready for a search when they are first searched."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        self._old: Old | None = None

    def searched(self) -> Old:
        """The old bytes, ready to be searched."""
        self._old = self._old or Old(self.data)
        return self._old


def compress(data: bytes | memoryview, source: Source) -> bytes | None:
    """The bytes as copies of old ones; None where nothing is like them, or they are too many to search."""
    old = np.frombuffer(source.data, np.uint8)
    new = np.frombuffer(data, np.uint8)
    if not 0 < len(old) <= LONGEST or not 0 < len(new) <= LONGEST:
        return None
    found = source.searched().copies(data).astype(np.int64)
    if not found[:, 1].any():
        return None
    inside = np.repeat(np.tile([True, False], len(found)), found[:, 1:].reshape(-1))
    copied, others = new[inside], new[~inside].tobytes()
    steps = _steps(found)
    if len(steps) > len(new) + SLACK:
        return None
    codings = [_smallest(steps, b""), _difference(copied, _taken(old, found)), _smallest(others, source.data)]
    out = bytearray()
    for nbytes, (coding, coded) in zip((len(steps), len(copied), len(others)), codings, strict=True):
        out += bytes([coding]) + varint(nbytes) + varint(len(coded)) + coded
    return bytes(out)


def decompress(data: bytes | memoryview, nbytes: int, old: bytes | memoryview) -> bytes:
    """The ``nbytes`` that were compressed; raises FormatError."""
    reader, before = Reader(data), np.frombuffer(old, np.uint8)
    steps = _read_steps(_part(reader, nbytes + SLACK, b""), len(old), nbytes)
    lengths = steps[:, 1:].sum(axis=0)
    if int(lengths.sum()) != nbytes:
        raise FormatError(LENGTH)
    coding, count, coded = _head(reader, nbytes)
    if count != lengths[0]:
        raise FormatError(LENGTH)
    copied = _copied(coding, coded, _taken(before, steps))
    others = _part(reader, nbytes, old)
    if len(others) != lengths[1] or reader.left:
        raise FormatError(LENGTH)
    result = np.empty(nbytes, np.uint8)
    inside = np.repeat(np.tile([True, False], len(steps)), steps[:, 1:].reshape(-1))
    result[inside], result[~inside] = copied, np.frombuffer(others, np.uint8)
    return result.tobytes()


def _taken(old: Array, steps: Array) -> Array:
    """The old bytes that are copied, one copy after another."""
    return np.concatenate([np.zeros(0, np.uint8), *(old[at : at + count] for at, count, _ in steps.tolist())])


def _steps(found: Array) -> bytes:
    """Three numbers a copy: how far on in the old bytes it begins (zigzag), its bytes, the bytes after it."""
    out, end = bytearray(), 0
    for at, count, others in found.tolist():
        moved = at - end if count else 0
        out += varint(2 * moved if moved >= 0 else -2 * moved - 1) + varint(count) + varint(others)
        end += moved + count
    return bytes(out)


def _read_steps(data: bytes, old_nbytes: int, nbytes: int) -> Array:
    """Where each copy begins, its bytes, and the bytes after it: int64 [copies, 3]; each inside the old bytes."""
    found = _numbers(np.frombuffer(data, np.uint8))
    if len(found) % 3 or len(found) > 3 * (nbytes // FEWEST + 2):
        raise FormatError(LENGTH)
    found = found.reshape(-1, 3)
    if len(found) and (int(found[:, 0].max()) > 2 * LONGEST or int(found[:, 1:].max()) > nbytes):
        raise FormatError(LENGTH)
    moved = np.where(found[:, 0] & 1, -(found[:, 0] + 1 >> 1), found[:, 0] >> 1)
    ends = np.cumsum(moved + found[:, 1])
    begins = ends - found[:, 1]
    if len(found) and (int(begins.min()) < 0 or int(ends.max()) > old_nbytes):
        raise FormatError("the update is damaged: it copies what the old model does not have")
    return np.stack([begins, found[:, 1], found[:, 2]], axis=1)


def _numbers(data: Array) -> Array:
    """A run of varints below 2**35: int64 [numbers]."""
    ends = np.flatnonzero(data < 128)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        raise FormatError(LENGTH)
    begins = np.append(0, ends[:-1] + 1) if len(ends) else ends
    if len(ends) and int((ends - begins).max()) > 4:
        raise FormatError("the update is damaged: a number does not end")
    found = np.zeros(len(ends), np.int64)
    for place in range(5):
        there = begins + place <= ends
        found[there] |= (data[begins[there] + place].astype(np.int64) & 127) << 7 * place
    return found


def _smallest(data: bytes, prefix: bytes | memoryview) -> tuple[int, bytes]:
    """The coding that takes fewest bytes, and those."""
    found = [(ZSTD, zstd.compress(data, prefix)), (BZIP2, bz2.compress(data))]
    return min(found, key=lambda each: len(each[1]))


def _difference(new: Array, old: Array) -> tuple[int, bytes]:
    """Copied bytes given the old ones."""
    found = [_smallest((new - old).tobytes(), b"")]
    if len(new) <= MODELLED:
        encoder = Encoder()
        encoder.code(new, old, ROW)
        coded, plain = encoder.end()
        found.append((MODEL, varint(len(coded)) + coded + plain))
    return min(found, key=lambda each: len(each[1]))


def _copied(coding: int, coded: memoryview, old: Array) -> Array:
    """Copied bytes, from the old ones."""
    if coding != MODEL:
        return np.frombuffer(_plain(coding, coded, len(old), b""), np.uint8) + old
    reader = Reader(coded)
    decoder = Decoder(bytes(reader.take(reader.number())), bytes(reader.take(reader.left)))
    values = decoder.code(None, old, ROW)
    decoder.end()
    return values


def _part(reader: Reader, most: int, prefix: bytes | memoryview) -> bytes:
    coding, count, coded = _head(reader, most)
    return _plain(coding, coded, count, prefix)


def _head(reader: Reader, most: int) -> tuple[int, int, memoryview]:
    """Coding, decoded length and coded bytes of a part."""
    coding, count = reader.take(1)[0], reader.number()
    if count > most:
        raise FormatError(LENGTH)
    return coding, count, reader.take(reader.number())


def _plain(coding: int, coded: memoryview, nbytes: int, prefix: bytes | memoryview) -> bytes:
    if coding == ZSTD:
        return zstd.decompress(coded, nbytes, prefix)
    if coding != BZIP2:
        raise FormatError("the update is damaged: its coding is not known")
    decoder = bz2.BZ2Decompressor()
    try:
        data = decoder.decompress(coded, nbytes + 1)
    except OSError:
        raise FormatError("the update is damaged: a section is no bzip2") from None
    if len(data) != nbytes or not decoder.eof or decoder.unused_data:
        raise FormatError("the update is damaged: a section does not have the length that it states")
    return data
