"""The model that all stages work on: a ModelProto, and what must be known beside it."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import load, opset, tensors
from onnxsqueeze.model.graphs import edges, unique_name, used_names
from onnxsqueeze.model.inline import inline
from onnxsqueeze.model.roles import PACKED_DOMAIN
from onnxsqueeze.model.save import save
from onnxsqueeze.model.weights import Found, Weight
from onnxsqueeze.model.weights import find as find_weights
from onnxsqueeze.model.weights import weights as list_weights

if TYPE_CHECKING:
    from onnxsqueeze.encode.note import Note


SPILL_FROM, SPILL_TENSOR = 64 << 20, 1 << 20  # bytes of models and tensors that are held on disk


class Model:
    """Standard ONNX in ``proto``, changed in place; external data stays in its files."""

    def __init__(self, proto: ModelProto, folder: Path | None = None, scratch: Path | None = None) -> None:
        self.proto = proto
        self.notes: dict[str, Note] = {}
        self._folder = folder  # of external data
        self._scratch_parent = scratch
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._scratch_files = 0
        self._scratch_lock = threading.Lock()
        self._found: dict[str, Found] | None = None
        self._taken: set[str] | None = None
        self._waste = 0
        self._external = any(map(tensors.is_external, tensors.every_tensor(proto)))

    @staticmethod
    def load(source: str | os.PathLike[str] | ModelProto, scratch: Path | None = None) -> Model:
        """The model in a file (external data is left where it is) or a copy of one in memory.

        ``scratch``: folder for weights that are held on disk; None for the system's temporary folder.
        """
        if isinstance(source, ModelProto):
            return Model(load.from_proto(source), None, scratch)
        model = Model(*load.from_path(source), scratch)
        if Path(source).stat().st_size > SPILL_FROM:
            model._spill()
        return model

    @property
    def is_packed(self) -> bool:
        """Whether weights are packed in our format already."""
        return load.is_packed(self.proto)

    @property
    def opset(self) -> int:
        """The version of the standard operators; 0 when there are none."""
        return opset.opset(self.proto)

    def check(self) -> None:
        """Raises ModelError unless the model is valid ONNX."""
        load.check(self.proto, "the model")

    def weights(self, minimum: int = 64) -> list[Weight]:
        """Every constant float tensor of at least ``minimum`` elements, in the order of the file."""
        wiring = edges(self.proto)
        self._taken = None
        self._found = find_weights(self.proto, wiring)
        return list_weights(self, self._found, wiring, minimum)

    def weight_nbytes(self, minimum: int = 64) -> int:
        """Bytes of the dense values of all weights."""
        return sum(weight.nbytes for weight in self.weights(minimum))

    def find(self, name: str) -> Found:
        """Where the weight of this name stands."""
        if self._found is None:
            self._found = find_weights(self.proto)
        if name not in self._found:
            raise ModelError(f"weight '{name}' is no longer in the model")
        return self._found[name]

    def read(self, tensor: TensorProto) -> npt.NDArray[np.generic]:
        """The values of a tensor of this model, read-only."""
        return tensors.read(tensor, self._folder, self._scratch_path)

    def write(self, tensor: TensorProto, values: npt.NDArray[np.generic]) -> None:
        """Replaces the values of a tensor; external ones go to a scratch file."""
        data = tensors.little_bytes(values)
        if tensors.is_external(tensor):
            old = tensors.external_place(tensor)[0]
            tensors.set_external(tensor, str(self._scratch_file(data)), 0, len(data))
            if self._scratch_path is not None and Path(old).parent == self._scratch_path:
                Path(old).unlink(missing_ok=True)
            return
        tensors.clear_data(tensor)
        tensor.raw_data = data
        self._waste += len(data)

    def compact(self) -> None:
        """Frees the memory of replaced values, which protobuf holds on to; ``proto`` becomes a new object.

        Call it between passes: protos taken from the model before belong to the old one, weights stay valid.
        """
        if self._waste > 1 << 20 and self._waste > self.proto.ByteSize() // 4:
            proto = ModelProto()
            proto.CopyFrom(self.proto)
            self.proto = proto
            self.refresh()
            self._waste = 0

    def raise_ir(self, version: int) -> None:
        """Raises the IR version to at least this one."""
        self.proto.ir_version = max(self.proto.ir_version, version)

    def raise_opset(self, version: int) -> bool:
        """Converts to at least this opset; False, and the model untouched, where that is not possible."""
        raised = opset.raise_opset(self.proto, version)
        self.refresh()
        return raised

    def inline(self) -> bool:
        """Puts all decode functions into the graph, for engines without model-local functions."""
        packed = [(f.domain, f.name) for f in self.proto.functions if f.domain == PACKED_DOMAIN]
        self.refresh()
        return inline(self.proto, packed)

    def unique_name(self, wanted: str) -> str:
        """A name that nothing in the model has yet; it is taken from now on."""
        if self._taken is None:
            self._taken = used_names(self.proto)
        return unique_name(wanted, self._taken)

    def replace_by_node(self, weight: Weight, node: NodeProto, initializers: Sequence[TensorProto]) -> None:
        """Puts a node that makes the same values in the place of a constant, its inputs beside it.

        Initializers whose names are taken are renamed, in the node's inputs too.
        """
        found = self.find(weight.name)
        graph = found.scope.graph
        names = {tensor.name: self.unique_name(tensor.name) for tensor in initializers}
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.ClearField("output")
        copy.output.append(found.local)
        copy.ClearField("input")
        copy.input.extend(names.get(name, name) for name in node.input)
        for tensor in initializers:
            added = graph.initializer.add()
            added.CopyFrom(tensor)
            added.name = names[tensor.name]
            if self._scratch is not None:
                self._spill_tensor(added)
        if found.node is None:
            place = next(i for i, tensor in enumerate(graph.initializer) if tensor.name == found.local)
            del graph.initializer[place]
            for position in range(len(graph.input) - 1, -1, -1):
                if graph.input[position].name == found.local:
                    del graph.input[position]
            graph.node.insert(0, copy)
        else:
            place = next(i for i, other in enumerate(graph.node) if found.local in other.output)
            graph.node[place].CopyFrom(copy)
        self.notes.pop(weight.name, None)
        self._waste += weight.nbytes
        if self._found is not None:
            del self._found[weight.name]

    def save(self, path: str | os.PathLike[str], external: bool | None = None, durable: bool = True) -> None:
        """Writes the model as it is, atomically.

        External data (``<name>.data`` beside the file) is kept when the model has it or exceeds 2 GB;
        ``external`` forces it on or off. ``durable``: not before it is on the disk.
        """
        target = Path(path)
        data = target.with_name(target.name + ".data").resolve()
        for tensor in tensors.every_tensor(self.proto):
            if tensors.is_external(tensor) and data == self._file(tensor):
                raise ModelError(f"'{data}' holds weights of the model being saved; choose another output name")
        save(self.proto, target, self.data, True if external is None and self._external else external, durable)

    def data(self, tensor: TensorProto) -> bytes:
        """The bytes of a tensor of this model, as ONNX stores raw data."""
        if tensors.is_external(tensor):
            return tensors.read_external(tensor, self._folder, self._scratch_path)
        return tensor.raw_data if tensor.HasField("raw_data") else tensors.little_bytes(self.read(tensor))

    def _file(self, tensor: TensorProto) -> Path:
        return tensors.external_file(tensor, self._folder, self._scratch_path)

    @property
    def _scratch_path(self) -> Path | None:
        return None if self._scratch is None else Path(self._scratch.name)

    def _scratch_file(self, data: bytes) -> Path:
        with self._scratch_lock:
            if self._scratch is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="onnxsqueeze-", dir=self._scratch_parent)
            self._scratch_files += 1
            path = Path(self._scratch.name) / str(self._scratch_files)
        path.write_bytes(data)
        return path

    def _spill(self) -> None:
        """Moves the large initializers to scratch files, so that memory holds one at a time."""
        for tensor in self.proto.graph.initializer:
            self._spill_tensor(tensor)
        self._waste = sys.maxsize
        self.compact()

    def _spill_tensor(self, tensor: TensorProto) -> None:
        if tensor.HasField("raw_data") and len(tensor.raw_data) >= SPILL_TENSOR:
            path, length = self._scratch_file(tensor.raw_data), len(tensor.raw_data)
            tensors.clear_data(tensor)
            tensors.set_external(tensor, str(path), 0, length)

    def refresh(self) -> None:
        """To be called after changing nodes or initializers of ``proto`` directly."""
        self._found = None
        self._taken = None
