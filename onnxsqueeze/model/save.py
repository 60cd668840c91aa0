"""Writing a model: atomically, and never with more than one tensor copied in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import Message  # type: ignore[import-untyped, unused-ignore]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.graphs import bodies
from onnxsqueeze.model.load import LIMIT
from onnxsqueeze.model.tensors import clear_data, elements, every_tensor, is_external, nbytes, set_external

Read = Callable[[TensorProto], bytes]
PAGE = 4096  # large tensors start on a page, so that they can be mapped


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when all went well, and else leaves no trace.

    ``durable``: it is on the disk then, which takes time.
    """
    target = path.resolve()
    temporary = target.with_name(f".onnxsqueeze-{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def embedded_size(model: ModelProto) -> int:
    """Bytes of the model in one file, a little too many."""
    extra = sum((nbytes(t) or 0) + 16 for t in every_tensor(model) if is_external(t))
    return int(model.ByteSize()) + extra


def save(model: ModelProto, path: Path, read: Read, external: bool | None, durable: bool = True) -> None:
    """Writes the model; ``external`` None: as its size asks for."""
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise ModelError(f"'{path}' is not a regular file; choose another output name")
    if not path.parent.is_dir():
        raise ModelError(f"the folder '{path.parent}' does not exist; create it first")
    size = embedded_size(model)
    if external is None:
        external = size > LIMIT
    if not external and size > LIMIT:
        raise ModelError(f"'{path}' would exceed 2 GB, which no ONNX file may; keep the weights as external data")
    try:
        if external:
            _save_external(model, path, read, size, durable)
        else:
            with replacing(path, durable) as file:
                _stream(model, file, read)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be written: {error.strerror or error}") from error


def _save_external(model: ModelProto, path: Path, read: Read, size: int, durable: bool) -> None:
    data_path = path.with_name(path.name + ".data")
    chosen = {id(t): t for t in every_tensor(model) if is_external(t)}
    if size > LIMIT or not chosen:
        chosen.update((id(t), t) for t in model.graph.initializer if elements(t) >= 1024 and t.HasField("raw_data"))
    with replacing(data_path, durable) as data:

        def divert(tensor: TensorProto) -> TensorProto:
            if id(tensor) not in chosen:
                return tensor
            content = read(tensor)
            if len(content) >= PAGE:
                data.write(b"\0" * (-data.tell() % PAGE))
            shell = _shell(tensor)
            set_external(shell, data_path.name, data.tell(), len(content))
            data.write(content)
            return shell

        shell = ModelProto()
        _divert(model, shell, divert)
        with replacing(path) as file:
            file.write(shell.SerializeToString())


def _shell(tensor: TensorProto) -> TensorProto:
    """The tensor without its bytes; the bytes are not copied on the way."""
    shell = TensorProto()
    for field, value in tensor.ListFields():
        if field.name in ("name", "data_type", "doc_string"):
            setattr(shell, field.name, value)
        elif field.name in ("dims", "metadata_props"):
            getattr(shell, field.name).extend(value)
    return shell


def _divert(source: Message, target: Message, change: Callable[[TensorProto], TensorProto]) -> None:
    """Copies a message with every tensor in graphs replaced."""
    for field, value in source.ListFields():
        inner = getattr(target, field.name)
        if field.message_type is None:
            if hasattr(inner, "extend"):
                inner.extend(value)
            else:
                setattr(target, field.name, value)
            continue
        single = isinstance(value, Message)
        for item in [value] if single else value:
            copy = inner if single else inner.add()
            if isinstance(item, TensorProto):
                copy.CopyFrom(change(item))
            elif isinstance(item, (GraphProto, NodeProto, AttributeProto)) or field.name == "functions":
                _divert(item, copy, change)
            else:
                copy.CopyFrom(item)


def _embedded(tensor: TensorProto, read: Read) -> TensorProto:
    if not is_external(tensor):
        return tensor
    copy = TensorProto()
    copy.CopyFrom(tensor)
    data = read(tensor)
    clear_data(copy)
    copy.raw_data = data
    return copy


def _holds_external(node: NodeProto) -> bool:
    if any(is_external(a.t) for a in node.attribute if a.type == AttributeProto.TENSOR):
        return True
    graphs = [graph for _, graph in bodies(node)]
    return any(any(map(is_external, g.initializer)) or any(map(_holds_external, g.node)) for g in graphs)


def _item(message: Message, read: Read) -> Message:
    """One element of a graph, with its bytes inside."""
    if isinstance(message, TensorProto):
        return _embedded(message, read)
    if isinstance(message, NodeProto) and _holds_external(message):
        copy = NodeProto()
        _divert(message, copy, lambda tensor: _embedded(tensor, read))
        return copy
    return message


def varint(value: int) -> bytes:
    """A whole number as protobuf has it: 7 bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _plain(message: Message, name: str) -> bytes:
    """One scalar field, as bytes on the wire."""
    single = type(message)()
    value, inner = getattr(message, name), getattr(single, name)
    if hasattr(inner, "extend"):
        inner.extend(value)
    else:
        setattr(single, name, value)
    return bytes(single.SerializeToString())


def _parts(message: Message) -> Iterator[bytes | tuple[bytes, Message]]:
    """The fields in wire order: finished bytes, or a tag and the message that follows it."""
    for field, value in message.ListFields():
        if field.message_type is None:
            yield _plain(message, field.name)
        else:
            tag = varint(field.number << 3 | 2)
            for item in [value] if isinstance(value, Message) else value:
                yield tag, item


def _graph_size(graph: GraphProto, read: Read) -> int:
    size = 0
    for part in _parts(graph):
        if isinstance(part, bytes):
            size += len(part)
        else:
            length = _item(part[1], read).ByteSize()
            size += len(part[0]) + len(varint(length)) + length
    return size


def _stream(model: ModelProto, file: BinaryIO, read: Read) -> None:
    """The same bytes as SerializeToString, written piece by piece."""

    def write(message: Message) -> None:
        for part in _parts(message):
            if isinstance(part, bytes):
                file.write(part)
            elif isinstance(part[1], GraphProto):
                file.write(part[0] + varint(_graph_size(part[1], read)))
                write(part[1])
            else:
                content = _item(part[1], read).SerializeToString()
                file.write(part[0] + varint(len(content)))
                file.write(content)

    write(model)
