"""What the functions of the native library take (codec.h); all of them return a status."""

from __future__ import annotations

import ctypes
from typing import Any

_pointer, _size, _int, _float = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_double
_text = ctypes.c_char_p

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "osq_pack": (_pointer, _size, _int, _pointer, _size),
    "osq_unpack": (_pointer, _size, _pointer, _size, _int, _size, _pointer),
    "osq_count_bytes": (_pointer, _size, _size, _pointer),
    "osq_huffman_sizes": (_pointer, _size, _pointer, _size, _pointer),
    "osq_huffman_encode": (
        *(_pointer, _size, _pointer, _size, _pointer, _size),
        *(_pointer, _size, _pointer, _pointer, _pointer),
    ),
    "osq_huffman_decode": (_pointer, _size, _int, _pointer),
    "osq_lookup": (_pointer, _size, _pointer, _size, _pointer, _int, _pointer),
    "osq_rescale": (_pointer, _size, _pointer, _int, _pointer),
    "osq_scatter_gaps": (_pointer, _pointer, _size, _size, _size, _pointer),
    "osq_scatter_nm": (_pointer, _pointer, _size, _size, _size, _size, _pointer),
    "osq_assign": (_pointer, _size, _pointer, _size, _int, _pointer),
    "osq_histogram": (_pointer, _size, _float, _float, _size, _int, _pointer, _pointer),
    "osq_carry": (_pointer,) * 5,
    "osq_descend": (_pointer,) * 6,
    "osq_get_stats": (_pointer, _size, _pointer),
    "osq_open_node": (_pointer, _pointer, _pointer),
    "osq_decode_node": (_pointer, _int, _int, _size, _pointer),
    "osq_choose_kernel": (_pointer, _text, ctypes.c_int64, ctypes.c_int64, _text, _text, _pointer),
    "osq_trim_memory": (),
    "osq_delta_encoder": (_pointer,),
    "osq_delta_decoder": (_pointer, _size, _pointer, _size, _pointer),
    "osq_delta_code": (_pointer, _pointer, _pointer, _size, _size, _int),
    "osq_delta_end": (_pointer, _pointer, _pointer),
    "osq_delta_take": (_pointer, _pointer, _pointer),
    "osq_delta_free": (_pointer,),
    "osq_old_make": (_pointer, _size, _pointer),
    "osq_old_copies": (_pointer, _pointer, _size, _pointer, _size, _pointer),
    "osq_old_free": (_pointer,),
}
