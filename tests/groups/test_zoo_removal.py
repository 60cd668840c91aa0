"""On every model of the zoo: removing channels equals zeroing them, the result is valid, and runs at several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from masking import masked
from zoo_models import feeds, is_strict, opened

from onnxsqueeze import zoo
from onnxsqueeze.groups import analyse, remove
from onnxsqueeze.model import Model
from onnxsqueeze.verify.tensors import signature_of

LONG = {"tumor-vgg16", "vit-s-focus", "oskut-scads", "layout-cdla", "open-nsfw"}  # over two seconds each


@pytest.mark.zoo
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in zoo.names()])
@pytest.mark.parametrize("ratio", [pytest.param(0.1, marks=pytest.mark.slow), 0.5])
def test_removal_equals_zeroing(name: str, ratio: float, tmp_path: Path) -> None:
    path = zoo.fetch(name)
    model = Model.load(path)
    groups = analyse(model)
    rng = np.random.default_rng(0)
    kept = {}
    for group in groups.removable:
        count = max(1, group.width - round(ratio * group.width))
        kept[group.id] = np.sort(rng.permutation(group.width)[:count])
    masked(path, kept).save(tmp_path / "masked.onnx", external=False)
    assert remove(groups, kept) > 0
    model.check()
    model.save(tmp_path / "small.onnx", external=False)
    if is_strict(path):
        onnx.checker.check_model(str(tmp_path / "small.onnx"), full_check=True)
    assert signature_of(onnx.load(tmp_path / "small.onnx")) == signature_of(onnx.load(path))
    assert (tmp_path / "small.onnx").stat().st_size < path.stat().st_size
    reference, session = opened(tmp_path / "masked.onnx"), opened(tmp_path / "small.onnx")
    for feed in feeds(name, session):
        for ours, theirs in zip(session.run(None, feed), reference.run(None, feed), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-3 * np.abs(theirs).max())
