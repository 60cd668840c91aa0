"""Packed weights, decoded whole by the native library: what FORMAT.md, section 2, calls a node."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

TYPES = {"float32": 1, "uint8": 2, "float16": 10, "float64": 11}  # as ONNX numbers them


class _Attribute(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("values", ctypes.c_void_p), ("count", ctypes.c_size_t))


class _Vector(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("count", ctypes.c_size_t), ("type", ctypes.c_int))


class _Node(ctypes.Structure):
    _fields_ = (
        ("op_type", ctypes.c_char_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("attribute_count", ctypes.c_size_t),
        ("inputs", ctypes.POINTER(_Vector)),
        ("input_count", ctypes.c_size_t),
    )


def decode(op_type: str, attributes: Mapping[str, Sequence[int]], inputs: Sequence[Array], threads: int = 1) -> Array:
    """The weight of a node, flat: float32, float16 or float64.

    Args:
        op_type: name of the operator.
        attributes: the node's attributes; an int as a list of one.
        inputs: the node's inputs in order, one dimension each, of bytes or floats.
        threads: how many may work on one weight.

    Raises:
        FormatError: the node is in a state that FORMAT.md forbids.
    """
    import numpy as np

    node = _node(op_type, attributes, inputs)
    kind, total = ctypes.c_int(), ctypes.c_size_t()
    native.call("osq_open_node", ctypes.byref(node), ctypes.byref(kind), ctypes.byref(total))
    weight = np.empty(total.value, next(name for name, number in TYPES.items() if number == kind.value))
    native.call("osq_decode_node", ctypes.byref(node), threads, kind, total, weight.ctypes.data)
    return weight


def choose_kernel(
    op_type: str,
    attributes: Mapping[str, Sequence[int]],
    inputs: Sequence[Array],
    feeds: str,
    rows: int = -1,
    groups: int = 1,
    kernel: str = "auto",
    profile: str = "",
) -> str:
    """The name of the kernel that would run a weight packed; "" where none would.

    Args:
        op_type: as for ``decode``, like ``attributes`` and ``inputs``.
        attributes: the node's.
        inputs: the node's.
        feeds: operator that the weight feeds: Conv, Gather, Gemm or MatMul.
        rows: of that operator's other input; of Conv: positions of an output; -1 where not known.
        groups: of a convolution.
        kernel: as for ``onnxsqueeze.runtime.session_options``, like ``profile``.
        profile: the machine's.

    Raises:
        FormatError: the node is in a state that FORMAT.md forbids, or an option is none.
    """
    node, found = _node(op_type, attributes, inputs), ctypes.c_char_p()
    options = feeds.encode(), rows, groups, kernel.encode(), profile.encode()
    native.call("osq_choose_kernel", ctypes.byref(node), *options, ctypes.byref(found))
    return (found.value or b"").decode()


def _node(op_type: str, attributes: Mapping[str, Sequence[int]], inputs: Sequence[Array]) -> _Node:
    """The C structure; it keeps what it points at alive."""
    import numpy as np

    lists = {name: native.longs(values) for name, values in attributes.items()}
    vectors = [np.require(array, requirements=["C", "A"]) for array in inputs]
    node = _Node(
        op_type.encode(),
        (_Attribute * len(lists))(
            *(_Attribute(name.encode(), ctypes.addressof(v), len(v)) for name, v in lists.items())
        ),
        len(lists),
        (_Vector * len(vectors))(*(_Vector(a.ctypes.data, len(a), TYPES[a.dtype.name]) for a in vectors)),
        len(vectors),
    )
    node.owners = lists, vectors
    return node
