"""The codecs of the native library, on NumPy arrays.

Importing this module is cheap; the library is loaded at the first call. Calls release the interpreter lock,
so callers may run several in threads of their own. What FORMAT.md forbids raises FormatError in the
library's words.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.errors import FormatError, RuntimeUnavailable
from onnxsqueeze.runtime.signatures import SIGNATURES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]

FILE_NAMES = ("libonnxsqueeze.so", "libonnxsqueeze.dylib")
PART_ELEMENTS = 1 << 18  # worth a thread
ONNX_TYPES = {"float32": 1, "float16": 10, "float64": 11}

_pointer, _size, _int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def library_path() -> Path:
    """Where the library lies: beside this package.  Raises RuntimeUnavailable where it does not."""
    import onnxsqueeze.runtime as package

    for folder in package.__path__:  # two of them where the package is installed for editing
        for name in FILE_NAMES:
            if (path := Path(folder) / name).is_file():
                return path
    raise RuntimeUnavailable(
        f"the native library {FILE_NAMES[0]} is not beside the package onnxsqueeze.runtime: "
        "reinstall onnxsqueeze on a machine with a C++17 compiler"
    )


@cache
def _library() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        library.osq_error.argtypes, library.osq_error.restype = (_int,), ctypes.c_char_p
        library.osq_isa.argtypes, library.osq_isa.restype = (), ctypes.c_char_p
        for name, arguments in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, _int
    except (OSError, AttributeError) as error:
        raise RuntimeUnavailable(f"the native library '{path}' does not load: {error}") from error
    return library


def call(name: str, *arguments: Any) -> None:
    """Calls a function of the library; raises FormatError in its words where it refuses."""
    status = getattr(_library(), name)(*arguments)
    if status != 0:
        raise FormatError(_library().osq_error(status).decode())


def trim_memory() -> None:
    """Gives memory that this process has freed back to the system."""
    call("osq_trim_memory")


def isa() -> str:
    """The instruction set in use: "portable", "avx2" or "avx512"; the variable ONNXSQUEEZE_ISA caps it."""
    name: str = _library().osq_isa().decode()
    return name


def _flat(values: Array, dtype: str) -> Array:
    """``values``, contiguous and flat; TypeError for another type than ``dtype``, no silent conversion."""
    import numpy as np

    if values.dtype != dtype:
        raise TypeError(f"expected an array of {dtype}, not of {values.dtype}")
    return np.ascontiguousarray(values).reshape(-1)


def _empty(count: int, dtype: Any = "uint8") -> Array:
    import numpy as np

    return np.empty(count, dtype)


def longs(values: Sequence[int]) -> Any:
    """A C array of the values."""
    if any(not -(1 << 63) <= value < 1 << 63 for value in values):
        raise FormatError("an attribute does not fit 64 bits")
    return (ctypes.c_int64 * len(values))(*values)


# Packed streams (FORMAT.md, 3.1)


def plane_bits(k: int) -> list[int]:
    """Bits of the planes that make up ``k`` bits, from high to low."""
    return [8] if k == 8 else [width for width in (4, 2, 1) if k & width]


def pack(values: Bytes, k: int) -> tuple[Bytes, list[int]]:
    """Packs values below ``2**k``, read in row-major order: payload, and the sizes of its planes."""
    flat = _flat(values, "uint8")
    blocks = (len(flat) + 7) // 8
    payload = _empty(k * blocks)
    call("osq_pack", flat.ctypes.data, len(flat), k, payload.ctypes.data, len(payload))
    return payload, [width * blocks for width in plane_bits(k)]


def unpack(payload: Bytes, sizes: Sequence[int], k: int, count: int) -> Bytes:
    """The ``count`` values that ``pack`` packed: uint8 [count]."""
    data = _flat(payload, "uint8")
    _check_packed(len(data), sizes, count)
    values = _empty(count)
    call("osq_unpack", data.ctypes.data, len(data), longs(sizes), len(sizes), k, count, values.ctypes.data)
    return values


def _check_packed(nbytes: int, sizes: Sequence[int], count: int) -> None:
    """Refuses a count that the payload cannot hold, before anything of that size is allocated."""
    if count < 0 or count > 8 * nbytes:
        raise FormatError("a plane has the wrong length")


# Huffman streams (FORMAT.md, 3.2)


class _HuffmanStream(ctypes.Structure):
    _fields_ = (
        ("payload", _pointer),
        ("payload_bytes", _size),
        ("sizes", _pointer),
        ("segments", _size),
        ("zeros", _pointer),
        ("leaves", _pointer),
        ("levels", _size),
        ("starts", _pointer),
        ("starts_count", _size),
        ("low", _int),
    )


def huffman_encode(
    leaf: Bytes, lengths: Bytes, threads: int = 1
) -> tuple[Bytes, list[int], list[int], list[int], list[int]]:
    """Codes leaf numbers; leaf j has a code of ``lengths[j]`` bits (non-decreasing) and must occur.

    Returns the payload (the levels, no low bits), ``sizes``, ``zeros``, ``leaves`` and ``starts``.
    """
    flat, bits = _flat(leaf, "uint8"), _flat(lengths, "uint8")
    parts = max(1, min(threads, len(flat) // PART_ELEMENTS, 256))
    counts = _empty(256 * parts, "uint64")
    call("osq_count_bytes", flat.ctypes.data, len(flat), parts, counts.ctypes.data)
    levels = int(bits.max(initial=1))
    sizes, zeros, leaves = ((ctypes.c_int64 * levels)() for _ in range(3))
    starts = (ctypes.c_int64 * max(0, len(bits) - 1))()
    call("osq_huffman_sizes", counts.ctypes.data, parts, bits.ctypes.data, len(bits), sizes)
    payload = _empty(sum(sizes))
    call(
        "osq_huffman_encode",
        *(flat.ctypes.data, len(flat), counts.ctypes.data, parts, bits.ctypes.data, len(bits)),
        *(payload.ctypes.data, len(payload), zeros, leaves, starts),
    )
    return payload, list(sizes), list(zeros), list(leaves), list(starts)


def huffman_decode(
    payload: Bytes,
    sizes: Sequence[int],
    zeros: Sequence[int],
    leaves: Sequence[int],
    starts: Sequence[int],
    low: int,
    count: int,
    threads: int = 1,
) -> Bytes:
    """Decodes ``count`` integers, leaf number * 2**low + low bits: uint8 [count]."""
    data = _flat(payload, "uint8")
    if len(zeros) != len(leaves):
        raise FormatError("zeros or leaves do not have one entry a level")
    if count < 0 or count > 8 * len(data):
        raise FormatError("a level has the wrong length")
    arrays = [longs(values) for values in (sizes, zeros, leaves, starts)]
    stream = _HuffmanStream(
        *(data.ctypes.data, len(data), ctypes.addressof(arrays[0]), len(sizes)),
        *(ctypes.addressof(arrays[1]), ctypes.addressof(arrays[2]), len(zeros)),
        *(ctypes.addressof(arrays[3]), len(starts), low),
    )
    values = _empty(count)
    call("osq_huffman_decode", ctypes.byref(stream), count, threads, values.ctypes.data)
    return values


# From indices to weights (FORMAT.md, 4)


@dataclass(frozen=True, eq=False)
class ChannelScale:
    """A factor per channel: ``table[codes[c]]`` for element (o, c, i) of outer x channels x inner."""

    table: Floats
    codes: Bytes
    outer: int
    inner: int


class _Scale(ctypes.Structure):
    _fields_ = (
        ("table", _pointer),
        ("entries", _size),
        ("codes", _pointer),
        ("outer", _size),
        ("channels", _size),
        ("inner", _size),
    )


def _finish(name: str, count: int, scale: ChannelScale | None, dtype: Any, *arguments: Any) -> Array:
    """Calls a function whose last arguments are a scale, a type and the output."""
    out = _empty(count, dtype)
    reference = None
    if scale is not None:
        table, codes = _flat(scale.table, "float32"), _flat(scale.codes, "uint8")
        structure = _Scale(
            *(table.ctypes.data, len(table), codes.ctypes.data, scale.outer, len(codes), scale.inner),
        )
        reference = ctypes.byref(structure)
    call(name, *arguments, reference, ONNX_TYPES[out.dtype.name], out.ctypes.data)
    return out


def lookup(indices: Bytes, codebook: Floats, scale: ChannelScale | None = None, dtype: Any = "float32") -> Array:
    """``codebook[indices]``, scaled in float32, then converted to float32, float16 or float64; flat."""
    flat, book = _flat(indices, "uint8"), _flat(codebook, "float32")
    arguments = (flat.ctypes.data, len(flat), book.ctypes.data, len(book))
    return _finish("osq_lookup", len(flat), scale, dtype, *arguments)


def rescale(values: Floats, scale: ChannelScale | None, dtype: Any = "float32") -> Array:
    """``values``, scaled in float32, then converted to float32, float16 or float64; flat."""
    flat = _flat(values, "float32")
    return _finish("osq_rescale", len(flat), scale, dtype, flat.ctypes.data, len(flat))


def scatter_gaps(distances: Bytes, values: Array, total: int) -> Array:
    """``total`` zeros, but ``values[i]`` (2, 4 or 8 bytes each) at the sum of ``distances[: i + 1]``."""
    steps, items = _flat(distances, "uint8"), _flat(values, values.dtype.name)
    if len(steps) != len(items):
        raise FormatError("the positions and the values differ in number")
    if not 0 <= total < 1 << 28:
        raise FormatError("the weight has 2^28 elements or more")
    out = _empty(total, items.dtype)
    arguments = (steps.ctypes.data, items.ctypes.data, len(steps), items.itemsize, total)
    call("osq_scatter_gaps", *arguments, out.ctypes.data)
    return out


def scatter_nm(positions: Bytes, values: Array, groups: int, size: int, kept: int) -> Array:
    """A ``groups`` x ``size`` matrix of zeros but for ``kept`` values a row, at increasing positions."""
    places, items = _flat(positions, "uint8"), _flat(values, values.dtype.name)
    if not len(places) == len(items) == groups * kept:
        raise FormatError("the positions and the values differ in number")
    if not 0 <= groups * size < 1 << 28:
        raise FormatError("the weight has 2^28 elements or more")
    out = _empty(groups * size, items.dtype)
    arguments = (places.ctypes.data, items.ctypes.data, groups, size, kept, items.itemsize)
    call("osq_scatter_nm", *arguments, out.ctypes.data)
    return out.reshape(groups, size)


# For finding codebooks


def assign(values: Floats, boundaries: Floats, threads: int = 1) -> Bytes:
    """How many boundaries (sorted, at most 255) are at most each value: uint8, flat. Nothing may be NaN."""
    flat, edges = _flat(values, "float32"), _flat(boundaries, "float32")
    indices = _empty(len(flat))
    call(
        "osq_assign",
        *(flat.ctypes.data, len(flat), edges.ctypes.data, len(edges), threads, indices.ctypes.data),
    )
    return indices


def histogram(
    values: Floats, low: float, high: float, bins: int, threads: int = 1
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Counts and sums in ``bins`` equal bins over [low, high]; values outside go to the outermost ones."""
    flat = _flat(values, "float32")
    counts, sums = _empty(bins, "uint64"), _empty(bins, "float64")
    call(
        "osq_histogram",
        *(flat.ctypes.data, len(flat), low, high, bins, threads, counts.ctypes.data, sums.ctypes.data),
    )
    return counts, sums


@dataclass(frozen=True)
class Stats:
    """Extremes of the values that are not NaN (0 where there are none), and what all of them are."""

    min: float
    max: float
    abs_max: float
    finite: bool
    zeros: int


class _Stats(ctypes.Structure):
    _fields_ = (
        ("min", ctypes.c_float),
        ("max", ctypes.c_float),
        ("abs_max", ctypes.c_float),
        ("finite", ctypes.c_int32),
        ("zeros", ctypes.c_uint64),
    )


def stats(values: Floats) -> Stats:
    """Extremes, finiteness and zeros in one pass."""
    flat = _flat(values, "float32")
    found = _Stats()
    call("osq_get_stats", flat.ctypes.data, len(flat), ctypes.byref(found))
    return Stats(found.min, found.max, found.abs_max, bool(found.finite), found.zeros)
