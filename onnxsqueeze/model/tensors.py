"""The bytes of one tensor: raw, typed, or in a file beside the model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxsqueeze.errors import ModelError

FLOATS: dict[int, np.dtype[np.generic]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.DOUBLE: np.dtype(np.float64),
}
TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def elements(tensor: TensorProto) -> int:
    """How many values the tensor has."""
    return math.prod(tensor.dims)


def bits(tensor: TensorProto) -> int:
    """Bits of one value; 0 for types without a fixed width."""
    if tensor.data_type in FLOATS:
        return FLOATS[tensor.data_type].itemsize * 8
    name = TensorProto.DataType.Name(tensor.data_type)
    if name in ("UNDEFINED", "STRING"):
        return 0
    if name.endswith(("INT4", "E2M1")):
        return 4
    return 2 if name.endswith("INT2") else helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8


def nbytes(tensor: TensorProto) -> int | None:
    """Bytes of the dense values; None for types without a fixed width."""
    return -(-elements(tensor) * bits(tensor) // 8) if bits(tensor) else None


def is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def every_tensor(model: ModelProto) -> Iterator[TensorProto]:
    """Initializers and attribute tensors of all graphs, subgraphs and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == AttributeProto.TENSORS:
            yield from attribute.tensors
        elif attribute.type == AttributeProto.GRAPH:
            yield from _of_graph(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield from _of_graph(graph)


def external_place(tensor: TensorProto) -> tuple[str, int, int | None]:
    """Location, offset and length as the tensor states them."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else None
    except ValueError:
        raise ModelError(f"tensor '{tensor.name}' has an offset or length that is no number") from None
    if offset < 0 or (length is not None and length < 0):
        raise ModelError(f"tensor '{tensor.name}' has a negative offset or length in its external data")
    return entries.get("location", ""), offset, length


def set_external(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    """Points the tensor at a file and drops the bytes that it holds."""
    clear_data(tensor)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def clear_data(tensor: TensorProto) -> None:
    """Leaves name, type, shape and documentation."""
    for name in ("raw_data", "external_data", "data_location", *TYPED):
        tensor.ClearField(name)


def external_file(tensor: TensorProto, folder: Path | None, scratch: Path | None) -> Path:
    """The file with the tensor's bytes; it must lie in the model's folder (or be scratch of our own)."""
    location, _, _ = external_place(tensor)
    if scratch is not None and Path(location).parent == scratch:
        return Path(location)
    if folder is None:
        raise ModelError(
            f"tensor '{tensor.name}' is in external data of an unknown folder; load the model from its path"
        )
    if not location or PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive:
        raise ModelError(f"external data '{location}' of tensor '{tensor.name}' must be a path relative to the model")
    path = Path(os.path.realpath(folder / location.replace("\\", "/")))
    if ".." in PurePosixPath(location.replace("\\", "/")).parts or not path.is_relative_to(os.path.realpath(folder)):
        raise ModelError(f"external data '{location}' of tensor '{tensor.name}' leaves the model's folder")
    if not path.is_file():
        raise ModelError(f"external data '{location}' of tensor '{tensor.name}' is missing; put it beside the model")
    return path


def read_external(tensor: TensorProto, folder: Path | None, scratch: Path | None) -> bytes:
    """Exactly this tensor's bytes, read by offset."""
    path = external_file(tensor, folder, scratch)
    location, offset, length = external_place(tensor)
    expected = nbytes(tensor)
    length = expected if length is None else length
    if length is None:
        raise ModelError(f"tensor '{tensor.name}' states no length for its external data '{location}'")
    if expected is not None and length != expected:
        raise ModelError(
            f"tensor '{tensor.name}' needs {expected} bytes, but external data '{location}' gives {length}"
        )
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise ModelError(f"external data '{path}' cannot be read: {error.strerror}") from error
    if len(data) != length:
        raise ModelError(f"external data '{location}' ends before tensor '{tensor.name}'; the file was cut short")
    return data


def check_data(tensor: TensorProto, folder: Path | None) -> None:
    """Refuses a tensor whose bytes are not those of its type and shape."""
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"tensor '{tensor.name}' has a negative dimension: {list(tensor.dims)}")
    if tensor.data_type and tensor.data_type not in TensorProto.DataType.values():
        raise ModelError(f"tensor '{tensor.name}' has type {tensor.data_type}, unknown to this onnx package")
    expected = nbytes(tensor)
    if is_external(tensor):
        path = external_file(tensor, folder, None)
        location, offset, length = external_place(tensor)
        size = path.stat().st_size
        if expected is not None and length is not None and length != expected:
            read_external(tensor, folder, None)
        if offset + (length if length is not None else expected or 0) > size:
            raise ModelError(f"external data '{location}' ends before tensor '{tensor.name}'; the file was cut short")
    elif tensor.HasField("raw_data") and expected is not None and len(tensor.raw_data) != expected:
        raise ModelError(
            f"tensor '{tensor.name}' needs {expected} bytes for shape {list(tensor.dims)}, "
            f"but holds {len(tensor.raw_data)}"
        )
    elif not tensor.HasField("raw_data") and tensor.data_type in FLOATS:
        held = len(tensor.float_data) + len(tensor.int32_data) + len(tensor.double_data)
        if held != elements(tensor):
            raise ModelError(f"tensor '{tensor.name}' needs {elements(tensor)} values, but holds {held}")


def read(tensor: TensorProto, folder: Path | None, scratch: Path | None) -> npt.NDArray[np.generic]:
    """The values, read-only."""
    if tensor.data_type in FLOATS and (is_external(tensor) or tensor.HasField("raw_data")):
        data = read_external(tensor, folder, scratch) if is_external(tensor) else tensor.raw_data
        kind = FLOATS[tensor.data_type]
        little = np.frombuffer(data, kind.newbyteorder("<")).reshape(tuple(tensor.dims))
        values = little.astype(kind, copy=False)
    elif is_external(tensor):
        inner = TensorProto(dims=tensor.dims, data_type=tensor.data_type, name=tensor.name)
        inner.raw_data = read_external(tensor, folder, scratch)
        values = numpy_helper.to_array(inner)
    else:
        values = numpy_helper.to_array(tensor)
    values.flags.writeable = False
    return values


def little_bytes(values: npt.NDArray[np.generic]) -> bytes:
    """The values as ONNX stores them."""
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).tobytes()
