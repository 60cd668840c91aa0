"""Which parts of old bytes new ones are like (ota/UPDATE.md, section 3.4)."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

LONGEST = (1 << 31) - 1  # bytes, of old and of new ones


class Old:
    """Old bytes, ready to be searched: some 10 bytes of memory for each."""

    def __init__(self, data: bytes | memoryview) -> None:
        import numpy as np

        self._data = np.frombuffer(data, np.uint8)  # the library reads from it
        self._handle = ctypes.c_void_p()
        native.call("osq_old_make", self._data.ctypes.data, len(self._data), ctypes.byref(self._handle))

    def __del__(self) -> None:
        native.call("osq_old_free", self._handle)

    def copies(self, data: bytes | memoryview) -> Array:
        """Cuts new bytes into copies: uint64 [copies, 3], where the copy begins, its bytes, and the bytes after it."""
        import numpy as np

        new = np.frombuffer(data, np.uint8)
        found, made = np.empty((len(new) // 8 + 2, 3), np.uint64), ctypes.c_size_t()
        arguments = new.ctypes.data, len(new), found.ctypes.data, len(found), ctypes.byref(made)
        native.call("osq_old_copies", self._handle, *arguments)
        return found[: made.value]
