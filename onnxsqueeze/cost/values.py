"""What is known of a value before a model runs: type and shape, small contents, and what it is made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, TypeProto, helper

Array = npt.NDArray[Any]
FLOATING = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
KNOWN = 512  # contents of at most so many elements are followed


@dataclass(frozen=True, eq=False)
class Value:
    """One value of a graph."""

    key: str  # unique in the model
    type: TypeProto | None
    data: Array | None = None  # the contents, where they are small and known
    constant: bool = False  # made from constants alone, so that a runtime computes it when the model is opened
    weights: tuple[str, ...] = ()  # the constants that it is made from

    @property
    def dtype(self) -> int:
        """The ONNX type of the elements, 0 where unknown."""
        return int(self.type.tensor_type.elem_type) if self.type is not None else 0

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape, None where not all of it is known."""
        if self.type is None or not self.type.tensor_type.HasField("shape"):
            return None
        dims = self.type.tensor_type.shape.dim
        return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None

    @property
    def known(self) -> bool:
        """Whether its size is known."""
        return self.shape is not None

    @property
    def elements(self) -> int:
        """Number of elements, 0 where unknown."""
        return math.prod(self.shape) if self.shape is not None else 0

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return bits_of(self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, 0 where unknown."""
        return -(-self.elements * self.bits // 8)


@dataclass(frozen=True, eq=False)
class Step:
    """A node as the walk met it, with what is known of its inputs and outputs."""

    node: NodeProto
    name: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value | None, ...]
    runs: int = 1
    problem: str = ""  # why the shapes of its outputs are not known
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def folded(self) -> bool:
        """Whether a runtime computes it when the model is opened."""
        return all(v.constant for v in self.outputs if v is not None) and any(self.outputs)


def bits_of(dtype: int) -> int:
    """Bits of an element of an ONNX type; 0 for strings and unknown types."""
    if dtype in (TensorProto.UNDEFINED, TensorProto.STRING) or dtype not in TensorProto.DataType.values():
        return 0
    name = TensorProto.DataType.Name(dtype)
    if name.endswith(("INT4", "E2M1")):
        return 4
    return 2 if name.endswith("INT2") else int(helper.tensor_dtype_to_np_dtype(dtype).itemsize) * 8


def tensor_type(dtype: int, shape: tuple[int, ...]) -> TypeProto:
    """The type of a tensor of a known shape."""
    made: TypeProto = helper.make_tensor_type_proto(dtype, list(shape))
    return made


def array_value(key: str, data: Array, constant: bool) -> Value:
    """A value with known contents."""
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(data.dtype))
    return Value(key, tensor_type(dtype, data.shape), data, constant)


def running(value: Value | None) -> Value | None:
    """The value as something that a run makes: no constant."""
    return None if value is None else Value(value.key, value.type)


def stack_of(value: Value | None, count: int) -> Value | None:
    """``count`` of the values, stacked along a new first axis."""
    if value is None or value.shape is None:
        return running(value)
    return Value(value.key + "/all", tensor_type(value.dtype, (count, *value.shape)))


def slice_of(value: Value | None, axis: int) -> Value | None:
    """One slice of the value along an axis."""
    if value is None or not value.shape:
        return running(value)
    axis %= len(value.shape)
    return Value(value.key + "/one", tensor_type(value.dtype, value.shape[:axis] + value.shape[axis + 1 :]))
