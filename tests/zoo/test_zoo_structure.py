"""On every model of the zoo: structural passes leave a valid model of the same signature that runs at several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxsqueeze import zoo
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.verify.tensors import signature_of
from onnxsqueeze.zoo.samples import sample_inputs

Feed = dict[str, np.ndarray[Any, Any]]
LONG = {
    "tumor-vgg16",
    "vit-s-focus",
    "oskut-scads",
    "layout-cdla",
    "open-nsfw",
    "efficientnet-lite0",
    "lac-encoder",
    "ppocr-rec",
    "ppocr-det",
}
FIXED = ("silero", "lac")  # a stream's states, or lengths, depend on the batch


def sizes(name: str, model: onnx.ModelProto) -> list[Feed]:
    """Inputs of different sizes, where sizes are free."""
    found = sample_inputs(name, 2, 0)[:2]
    first = found[0]
    if name == "ppocr-det":
        return [*found, {"x": first["x"][:, :, :320, :256]}]
    if name == "ppocr-rec":
        return [*found, {"x": first["x"][:, :, :, :200]}]
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    is_free = all(
        value.type.tensor_type.shape.dim and not value.type.tensor_type.shape.dim[0].dim_value for value in inputs
    )
    if is_free and not name.startswith(FIXED):
        found = [*found, {key: np.concatenate([value, value]) for key, value in first.items()}]
    return found


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 2
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def is_strict(path: Path) -> bool:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception:
        return False
    return True


@pytest.mark.zoo
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in zoo.names()])
def test_structural_passes(name: str, tmp_path: Path) -> None:
    path = zoo.fetch(name)
    original = onnx.load(path)
    feeds = sizes(name, original)
    session = opened(path)
    expected = [session.run(None, feed) for feed in feeds]
    strict = is_strict(path)
    for text in ("merge", "channels{ratio=0.1}", "channels{ratio=0.5}", "lowrank", "lowrank{ratio=0.5}"):
        model = Model.load(path)
        for step in parse(text, PASSES):
            step(model, Context(jobs=2))
        small = tmp_path / "small.onnx"
        model.save(small, external=False)
        onnx.checker.check_model(str(small), full_check=strict)
        assert signature_of(onnx.load(small)) == signature_of(original), text
        session = opened(small)
        for feed, theirs in zip(feeds, expected, strict=True):
            for ours, other in zip(session.run(None, feed), theirs, strict=True):
                assert ours.shape == other.shape and ours.dtype == other.dtype, text
                assert np.isfinite(ours).all() or not np.isfinite(other).all(), text
