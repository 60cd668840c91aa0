"""On every model of the zoo: removing channels equals zeroing them, the result is valid, and runs at several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from masking import masked

from onnxsqueeze import zoo
from onnxsqueeze.groups import analyse, remove
from onnxsqueeze.model import Model
from onnxsqueeze.verify.tensors import signature_of
from onnxsqueeze.zoo.samples import sample_inputs

Feed = dict[str, np.ndarray[Any, Any]]
LONG = {"tumor-vgg16", "vit-s-focus", "oskut-scads", "layout-cdla", "open-nsfw"}  # over two seconds each


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 2
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(name: str, session: onnxruntime.InferenceSession) -> list[Feed]:
    """Honest inputs of different sizes, where sizes are free."""
    found = sample_inputs(name, 2, 0)[:2]
    first = found[0]
    free = {
        i.name: [axis for axis, size in enumerate(i.shape) if not isinstance(size, int)] for i in session.get_inputs()
    }
    if name in ("ppocr-det",):
        found.append({"x": first["x"][:, :, :320, :256]})
    elif name in ("ppocr-rec",):
        found.append({"x": first["x"][:, :, :, :200]})
    elif all(0 in axes for axes in free.values()) and not name.startswith(("silero", "lac")):
        found.append({key: np.concatenate([feed[key] for feed in found]) for key in first if same_shapes(found)})
    return [feed for feed in found if feed]


def same_shapes(found: list[Feed]) -> bool:
    return all({k: v.shape for k, v in feed.items()} == {k: v.shape for k, v in found[0].items()} for feed in found)


def is_strict(path: Path) -> bool:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception:
        return False
    return True


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
