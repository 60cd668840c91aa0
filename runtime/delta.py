"""Arrays coded given older ones of the same length (ota/UPDATE.md, section 5)."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

TYPES = {"float32": 1, "uint8": 2, "uint16": 4, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13}


class _Delta:
    """A native coder; its state goes with it."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        self._handle = ctypes.c_void_p()
        native.call(f"osq_delta_{kind}", *arguments, ctypes.byref(self._handle))

    def __del__(self) -> None:
        native.call("osq_delta_free", self._handle)

    def _code(self, values: Array, old: Array, width: int) -> None:
        if values.dtype != old.dtype or values.size != old.size:
            raise TypeError("the old array must have the type and the length of the new one")
        kind = TYPES[values.dtype.name]
        arguments = (values.ctypes.data, old.ctypes.data, values.size, max(1, width), kind)
        native.call("osq_delta_code", self._handle, *arguments)


class Encoder(_Delta):
    """Writes arrays, one after another."""

    def __init__(self) -> None:
        super().__init__("encoder")

    def code(self, values: Array | None, old: Array, width: int) -> Array:
        """Codes ``values`` given ``old``: same type, same length; ``width``: elements of a row. Returns them, flat."""
        import numpy as np

        if values is None:
            raise TypeError("an encoder needs values")
        flat = np.ascontiguousarray(values).reshape(-1)
        self._code(flat, np.ascontiguousarray(old), width)
        return flat

    def end(self) -> tuple[bytes, bytes]:
        """The coded bytes, and the plain bits beside them."""
        coded, plain = ctypes.c_size_t(), ctypes.c_size_t()
        native.call("osq_delta_end", self._handle, ctypes.byref(coded), ctypes.byref(plain))
        buffers = ctypes.create_string_buffer(coded.value), ctypes.create_string_buffer(max(1, plain.value))
        native.call("osq_delta_take", self._handle, *buffers)
        return buffers[0].raw, buffers[1].raw[: plain.value]


class Decoder(_Delta):
    """Reads what an ``Encoder`` has written, given the same old arrays."""

    def __init__(self, coded: bytes, plain: bytes) -> None:
        self._bytes = coded, plain  # the library reads from them
        super().__init__("decoder", coded, len(coded), plain, len(plain))

    def code(self, values: Array | None, old: Array, width: int) -> Array:
        """The next array, flat (``values`` is not looked at); raises FormatError where the bytes end early."""
        import numpy as np

        found = np.zeros(old.size, old.dtype)
        self._code(found, np.ascontiguousarray(old), width)
        return found

    def end(self) -> None:
        """Raises FormatError where bytes are left."""
        native.call("osq_delta_end", self._handle, None, None)
