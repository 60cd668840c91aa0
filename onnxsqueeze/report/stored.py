"""A model as it lies in its files: what it weighs, and its weights dense and packed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.compress import resolve
from onnxsqueeze.encode.bodies import DOMAIN
from onnxsqueeze.model import Model
from onnxsqueeze.model.dense import file_nbytes
from onnxsqueeze.model.graphs import walk
from onnxsqueeze.pipeline.stamp import is_inlined, passes_of
from onnxsqueeze.pipeline.unpack import unpack

if TYPE_CHECKING:
    from onnxsqueeze.model import Weight


@dataclass(frozen=True, eq=False)
class Stored:
    """One file, unpacked in memory, and how its weights were packed."""

    name: str  # as it was given
    path: Path
    nbytes: int  # external data included
    model: Model  # dense
    opset: int
    passes: str  # the pipeline that made the file, "" where it is no output of ours
    inlined: bool  # weights were packed, but can no longer be told from others
    nodes: int  # of all graphs; decode nodes are none
    functions: int  # bytes of decode functions
    packed: dict[str, tuple[str, int]]  # weight to operator and bytes

    def place(self, weight: Weight) -> tuple[str, int]:
        """How the weight is stored (an operator, or "dense"), and in how many bytes."""
        return self.packed.get(weight.name, ("dense", weight.nbytes))


def read(file: str | os.PathLike[str], threads: int = 1, scratch: Path | None = None) -> Stored:
    """Reads a model, packed or not; ``zoo:NAME`` is fetched; raises SqueezeError."""
    path = resolve(file)
    nbytes = file_nbytes(path)  # before large models move their weights to scratch files
    model = Model.load(path, scratch)
    passes, inlined, opset = passes_of(model), is_inlined(model), model.opset
    functions, packed = 0, {}
    if model.is_packed:
        functions = sum(f.ByteSize() + 4 for f in model.proto.functions if f.domain == DOMAIN)
        packed = {w.name: (w.encoding, w.nbytes) for w in unpack(model, threads)}
    nodes = sum(len(scope.graph.node) for scope in walk(model.proto))
    return Stored(os.fspath(file), path, nbytes, model, opset, passes, inlined, nodes, functions, packed)
