"""Bytes of a model's file as it would be stored now."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.model import Model
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.pipeline import Silent
from onnxsqueeze.pipeline.lower import lower

if TYPE_CHECKING:
    from onnxsqueeze.pipeline import Context


def stored_nbytes(model: Model, context: Context) -> int:
    """Bytes of the file that the model would come to with Huffman coding; the model is left as it is."""
    quiet = replace(context, progress=Silent(), notes=lambda text: None)
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        path = Path(folder) / "model.onnx"
        model.save(path, durable=False)
        copy = Model.load(path, Path(folder))
        copy.notes.update(model.notes)
        Huffman()(copy, quiet)
        lower(copy, quiet)
        stored = Path(folder) / "stored.onnx"
        copy.save(stored, durable=False)
        return sum(file.stat().st_size for file in Path(folder).glob("stored.onnx*"))
