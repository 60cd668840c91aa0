"""On every model of the zoo: structural passes leave a valid model of the same signature that runs at several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from zoo_models import feeds, is_strict, opened

from onnxsqueeze import zoo
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.verify.tensors import signature_of

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


@pytest.mark.zoo
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in zoo.names()])
def test_structural_passes(name: str, tmp_path: Path) -> None:
    path = zoo.fetch(name)
    original = onnx.load(path)
    session = opened(path)
    inputs = feeds(name, session)
    expected = [session.run(None, feed) for feed in inputs]
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
        for feed, theirs in zip(inputs, expected, strict=True):
            for ours, other in zip(session.run(None, feed), theirs, strict=True):
                assert ours.shape == other.shape and ours.dtype == other.dtype, text
                assert np.isfinite(ours).all() or not np.isfinite(other).all(), text
