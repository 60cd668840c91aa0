"""A light copy of a model, its large tensors replaced by placeholders: cheap to check, convert and inline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message  # type: ignore[import-untyped, unused-ignore]
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from onnxsqueeze.model.tensors import bits, elements

LARGE = 64  # elements
MAGIC = b"\x9d\xf0sq"
HOLDERS = (ModelProto, GraphProto, NodeProto, AttributeProto, FunctionProto)
M = TypeVar("M", bound=Message)


def hollow(message: M, tensors: list[TensorProto]) -> M:
    """The light copy; the tensors left out are appended to ``tensors``, in whose order they are numbered."""
    copy: M = type(message)()
    _copy(message, copy, tensors)
    return copy


def refill(copies: Iterable[TensorProto], tensors: list[TensorProto]) -> int:
    """Puts the tensors back in the place of their placeholders, under the placeholder's name."""
    count = 0
    for copy in copies:
        number = placeholder(copy)
        if number is not None:
            name = copy.name
            copy.CopyFrom(tensors[number])
            copy.name = name
            count += 1
    return count


def placeholder(tensor: TensorProto) -> int | None:
    """The number of the tensor that this one stands for."""
    data = tensor.raw_data if elements(tensor) <= 32 else b""
    return int.from_bytes(data[4:], "little") if len(data) == 8 and data[:4] == MAGIC else None


def is_large(tensor: TensorProto) -> bool:
    return elements(tensor) >= LARGE and 0 < bits(tensor) <= 64


def _copy(source: Message, target: Message, tensors: list[TensorProto]) -> None:
    for field, value in source.ListFields():
        inner = getattr(target, field.name)
        if isinstance(value, Message):
            _copy_one(value, inner, tensors)
        elif field.message_type is not None:
            for item in value:
                _copy_one(item, inner.add(), tensors)
        elif isinstance(value, (bool, int, float, str, bytes)):
            setattr(target, field.name, value)
        else:
            inner.extend(value)


def _copy_one(source: Message, target: Message, tensors: list[TensorProto]) -> None:
    if isinstance(source, TensorProto) and is_large(source):
        _place(source, target, tensors)
    elif isinstance(source, HOLDERS) and not (isinstance(source, NodeProto) and not source.attribute):
        _copy(source, target, tensors)
    else:
        target.CopyFrom(source)


def _place(source: TensorProto, target: Message, tensors: list[TensorProto]) -> None:
    assert isinstance(target, TensorProto)
    for field, value in source.ListFields():
        if field.name in ("name", "data_type", "doc_string"):
            setattr(target, field.name, value)
    target.dims.extend([1] * (len(source.dims) - 1) + [8 * 8 // bits(source)])
    target.raw_data = MAGIC + len(tensors).to_bytes(4, "little")
    tensors.append(source)
