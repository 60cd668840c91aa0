"""The container of an update: what it is for, what it makes, and its sections (UPDATE.md, section 2)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.save import varint

MAGIC = b"\x89OSQU\r\n\x1a"
VERSION = 2
DIGEST = 32
OLD_DIGEST = 8  # bytes that are kept of the old files' hash: accidents only, the new files have all of theirs
MAX_FILES = 64
MAX_NAME = 255
SECTION_SLACK = 1 << 20  # a section may take so many bytes and twice those of the new model
SLACK, GROWTH = 64 << 20, 8  # the new model may take SLACK bytes and GROWTH times the old one


@dataclass(frozen=True)
class Target:
    """One file of the new model."""

    name: str  # "" for the model itself, else of an external file beside it
    nbytes: int


@dataclass(frozen=True)
class Section:
    """Coded bytes, and how many they decode to."""

    nbytes: int
    data: bytes | memoryview


@dataclass(frozen=True)
class Update:
    """An update, read or about to be written."""

    method: int
    old_digest: bytes  # the first bytes of the SHA-256 of the old files, one after another
    old_nbytes: int
    new_digest: bytes
    targets: tuple[Target, ...]
    sections: tuple[Section, ...]

    @property
    def new_nbytes(self) -> int:
        """Bytes of the new files."""
        return sum(target.nbytes for target in self.targets)


def largest(old_nbytes: int) -> int:
    """How many bytes an update of an old model may make."""
    return SLACK + GROWTH * old_nbytes


class Reader:
    """Reads bytes in order; raises FormatError rather than reading past the end."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self._position = memoryview(data), 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._position

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if not 0 <= count <= self.left:
            raise FormatError("the update is damaged: it ends early")
        self._position += count
        return self._data[self._position - count : self._position]

    def peek(self) -> int:
        """The next byte, which must be there."""
        return self._data[self._position]

    def number(self) -> int:
        """A varint: 7 bits a byte, the lowest first, below 2**63."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise FormatError("the update is damaged: a number does not end")


def write(update: Update) -> bytes:
    """The bytes of an update."""
    body = [bytes([update.method]), update.old_digest, update.new_digest, varint(update.old_nbytes)]
    body.append(bytes([len(update.targets)]))
    for target in update.targets:
        name = target.name.encode()
        body += [varint(len(name)), name, varint(target.nbytes)]
    body.append(bytes([len(update.sections)]))
    body += [varint(section.nbytes) + varint(len(section.data)) for section in update.sections]
    body += [bytes(section.data) for section in update.sections]
    joined = b"".join(body)
    return MAGIC + VERSION.to_bytes(2, "little") + zlib.crc32(joined).to_bytes(4, "little") + joined


def read(data: bytes) -> Update:
    """Reads and checks an update; raises FormatError."""
    reader = Reader(data)
    if reader.left < len(MAGIC) or bytes(reader.take(len(MAGIC))) != MAGIC:
        raise FormatError("this is no update: it does not begin as one made by 'onnxsqueeze ota diff' does")
    version = int.from_bytes(reader.take(2), "little")
    if version != VERSION:
        raise FormatError(f"the update is of version {version}, this onnxsqueeze reads version {VERSION}")
    checksum = int.from_bytes(reader.take(4), "little")
    if zlib.crc32(data[len(MAGIC) + 6 :]) != checksum:
        raise FormatError("the update is damaged: its checksum does not fit; fetch it again")
    method = reader.take(1)[0]
    old_digest, new_digest = bytes(reader.take(OLD_DIGEST)), bytes(reader.take(DIGEST))
    old_nbytes = reader.number()
    targets = tuple(_target(reader) for _ in range(_count(reader, MAX_FILES, "files")))
    _check_targets(targets, old_nbytes)
    sizes = [(reader.number(), reader.number()) for _ in range(reader.take(1)[0])]
    if max((nbytes for nbytes, _ in sizes), default=0) > SECTION_SLACK + 2 * sum(target.nbytes for target in targets):
        raise FormatError("the update is refused: a section would become far larger than the new model")
    sections = tuple(Section(nbytes, reader.take(coded)) for nbytes, coded in sizes)
    if reader.left:
        raise FormatError("the update is damaged: bytes follow its end")
    return Update(method, old_digest, old_nbytes, new_digest, targets, sections)


def _count(reader: Reader, limit: int, what: str) -> int:
    count = reader.take(1)[0]
    if not 1 <= count <= limit:
        raise FormatError(f"the update is damaged: it names {count} {what}")
    return count


def _target(reader: Reader) -> Target:
    length = reader.number()
    if length > MAX_NAME:
        raise FormatError("the update is damaged: a file name is too long")
    try:
        name = bytes(reader.take(length)).decode()
    except UnicodeDecodeError:
        raise FormatError("the update is damaged: a file name is not UTF-8") from None
    return Target(name, reader.number())


def _check_targets(targets: Sequence[Target], old_nbytes: int) -> None:
    """The model comes first and without a name; the others are plain names, each once."""
    names = [target.name for target in targets]
    if names[0] or len(set(names)) < len(names) or not all(map(is_plain, names[1:])):
        raise FormatError("the update is damaged: it names files that no model has")
    if sum(target.nbytes for target in targets) > largest(old_nbytes):
        raise FormatError("the update is refused: it would make a model far larger than the old one")


def is_plain(name: str) -> bool:
    """Whether this names a file in its folder, on every system."""
    return 0 < len(name.encode()) <= MAX_NAME and name not in (".", "..") and not set(name) & set("/\\:\0")
