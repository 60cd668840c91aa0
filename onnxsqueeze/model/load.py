"""Reading a model: what is no sound ONNX is refused in one sentence, the rest brought into one form."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, checker, defs, helper

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model.graphs import walk
from onnxsqueeze.model.hollow import LARGE, hollow, is_large
from onnxsqueeze.model.inline import inline_heavy
from onnxsqueeze.model.roles import PACKED_DOMAIN
from onnxsqueeze.model.tensors import (
    check_data,
    clear_data,
    every_tensor,
    is_external,
    read_external,
)

LIMIT = 2**31 - 1  # bytes of a protobuf message
HEAVY = 1 << 24  # bytes from which on a light copy of a model is checked faster than the model itself


def parse(path: Path) -> ModelProto:
    """The model in a file, external data left where it is."""
    if path.is_dir():
        raise ModelError(f"'{path}' is a folder; name the .onnx file in it")
    if not path.exists():
        raise ModelError(f"'{path}' does not exist; check the path")
    if not path.is_file():
        raise ModelError(f"'{path}' is not a regular file")
    size = path.stat().st_size
    if size == 0:
        raise ModelError(f"'{path}' is empty; export or download it again")
    if size > LIMIT:
        raise ModelError(f"'{path}' exceeds 2 GB, which no ONNX file may; keep its weights as external data")
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
            raise ModelError(f"'{path}' is text, not a binary ONNX model{_pointer(head)}")
        model = ModelProto()
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error
    except DecodeError:
        raise ModelError(f"'{path}' is not an ONNX model, or was cut short; export or download it again") from None
    return model


def _pointer(head: bytes) -> str:
    is_pointer = head.startswith(b"version https://git-lfs")
    return "; it is a Git LFS pointer: run 'git lfs pull'" if is_pointer else ""


def check(model: ModelProto, origin: str, nbytes: int | None = None) -> None:
    """Runs onnx.checker; over a light copy where there is much data (no size limit, no second copy of the weights).

    ``nbytes``: of the model as a message, where they are known: to count them, protobuf writes all of it.
    """
    if not model.HasField("graph"):
        raise ModelError(f"{origin} is not an ONNX model: it has no graph")
    newest = defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > newest:
            raise ModelError(
                f"{origin} uses opset {entry.version}, but the installed onnx package knows opsets up to "
                f"{newest}; upgrade onnx or export with an older opset"
            )
    try:
        checker.check_model(hollow(model, []) if _is_heavy(model, nbytes) else model)
    except (checker.ValidationError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).replace("==> Context:", ";").split()).replace(" ;", ";") or "unknown error"
        raise ModelError(f"{origin} is not valid ONNX: {reason}") from None
    for text in _texts(model):
        if isinstance(text, bytes):  # what protobuf gives where it is no UTF-8
            raise ModelError(f"{origin} holds the name {text!r}, which is not valid UTF-8; export it again")


def _is_heavy(model: ModelProto, nbytes: int | None) -> bool:
    return (model.ByteSize() if nbytes is None else nbytes) >= HEAVY or any(map(is_external, every_tensor(model)))


def _texts(model: ModelProto) -> Iterator[str | bytes]:
    """The names in all graphs."""
    for scope in walk(model):
        for node in scope.graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for value in (*scope.graph.input, *scope.graph.output):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        yield from (tensor.name for tensor in scope.graph.initializer)


def check_tensors(model: ModelProto, folder: Path | None, origin: str) -> None:
    """Refuses tensors whose bytes are missing, out of range or too few; small external ones are taken in."""
    for tensor in every_tensor(model):
        try:
            check_data(tensor, folder)
            if is_external(tensor) and not is_large(tensor):
                data = read_external(tensor, folder, None)
                clear_data(tensor)
                tensor.raw_data = data
        except ModelError as error:
            raise ModelError(f"{origin}: {error}") from None


def normalise(model: ModelProto) -> None:
    """Brings every model into the form that later stages expect; what it computes stays the same."""
    if model.ir_version < 4:
        model.ir_version = 4
        drop_inputs(model, {tensor.name for tensor in model.graph.initializer})
    if not is_packed(model):
        inline_heavy(model)
    for scope in walk(model):
        for node in scope.graph.node:
            _value_floats(node)


def drop_inputs(model: ModelProto, names: set[str]) -> None:
    """Takes initializers out of the graph's inputs, which makes them constants."""
    inputs = model.graph.input
    for position in range(len(inputs) - 1, -1, -1):
        if inputs[position].name in names:
            del inputs[position]


def is_packed(model: ModelProto) -> bool:
    """Whether the model holds weights in our format already."""
    domains = {entry.domain for entry in model.opset_import}
    domains.update(function.domain for function in model.functions)
    return PACKED_DOMAIN in domains


def _value_floats(node: NodeProto) -> None:
    """A long list of floats in a Constant node becomes a tensor like any other."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return
    for attribute in node.attribute:
        if attribute.name == "value_floats" and len(attribute.floats) >= LARGE:
            values = list(attribute.floats)
            tensor = helper.make_tensor(node.output[0], TensorProto.FLOAT, [len(values)], values)
            attribute.CopyFrom(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))


def from_path(source: str | os.PathLike[str]) -> tuple[ModelProto, Path]:
    """The model in a file, checked and normalised, and the folder of its external data."""
    path = Path(source)
    model = parse(path)
    origin = f"'{path}'"
    check_tensors(model, path.parent, origin)
    check(model, origin, path.stat().st_size)
    normalise(model)
    return model, path.parent


def from_proto(source: ModelProto) -> ModelProto:
    """A checked and normalised copy of a model in memory."""
    model = ModelProto()
    model.CopyFrom(source)
    check_tensors(model, None, "the model")
    check(model, "the model")
    normalise(model)
    return model
