"""Zstandard with the old bytes as a prefix, as ``zstd --patch-from`` does it."""

from __future__ import annotations

import zstandard

from onnxsqueeze.errors import FormatError

LEVEL = 19
CHUNK = 1 << 10  # coded bytes that are decoded at once: they may become 32 MB


def compress(data: bytes | memoryview, prefix: bytes | memoryview, level: int = LEVEL) -> bytes:
    """One frame that refers to ``prefix`` wherever that is shorter."""
    if not data:
        return b""
    window = _window_log(len(data) + len(prefix))
    options = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(data),
        dict_size=len(prefix),
        window_log=window,
        enable_ldm=window > 24,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(dict_data=_prefix(prefix), compression_params=options).compress(data)


def decompress(data: bytes | memoryview, nbytes: int, prefix: bytes | memoryview) -> bytes:
    """The ``nbytes`` that were compressed; raises FormatError where the frame holds anything else."""
    if nbytes == 0 and not data:
        return b""
    try:
        window = 1 << _window_log(nbytes + len(prefix))
        decoder = zstandard.ZstdDecompressor(dict_data=_prefix(prefix), max_window_size=window).decompressobj()
        parts, left = [], nbytes
        for start in range(0, len(data), CHUNK):
            part = decoder.decompress(data[start : start + CHUNK])
            left -= len(part)
            if left < 0 or decoder.unused_data:
                break
            parts.append(part)
    except zstandard.ZstdError as error:
        raise FormatError(f"the update is damaged: zstd says '{error}'") from None
    if left or not decoder.eof or decoder.unused_data:
        raise FormatError("the update is damaged: a section does not have the length that it states")
    return b"".join(parts)


def _window_log(nbytes: int) -> int:
    """The window that reaches over so many bytes."""
    return min(31, max(10, nbytes.bit_length()))


def _prefix(data: bytes | memoryview) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if len(data) >= 8 else None
