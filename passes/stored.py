"""Bytes of a model's file as it would be stored now."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsqueeze.model import Model
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.pipeline.lower import lower
from onnxsqueeze.pipeline.stamp import stamp

if TYPE_CHECKING:
    from onnxsqueeze.pipeline import Context

STAMP = "fold,allocate{size=1000000000 score=module:function},huffman"  # as long as most


def stored_nbytes(model: Model, context: Context) -> int:
    """Bytes of the file that the model would come to with Huffman coding; the model is left as it is."""
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        path = stored(model, context, Path(folder))
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def stored(model: Model, context: Context, folder: Path) -> Path:
    """That file, in a folder."""
    quiet = context.quiet()
    copy = copied(model, folder)
    Huffman()(copy, quiet)
    lower(copy, quiet)
    stamp(copy, STAMP, False)
    path = folder / "stored.onnx"
    copy.save(path, durable=False)
    return path


def copied(model: Model, folder: Path) -> Model:
    """Another model of the same weights and notes; a folder takes one."""
    path = folder / "model.onnx"
    model.save(path, durable=False)
    copy = Model.load(path, folder)
    copy.notes.update(model.notes)
    return copy
