"""Built graphs are valid ONNX with the parameter counts of the networks they are named after."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo import efficientnet, graphs


def count(model: onnx.ModelProto) -> int:
    return sum(math.prod(weight.dims) for weight in model.graph.initializer)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (graphs.squeezenet, 1_248_424),
        (graphs.resnet50, 25_557_032 + 53_120),  # batch normalization's means and variances are weights here
        (lambda: graphs.mlp(64, 3), 3 * 65 * 64),
        pytest.param(graphs.alexnet, 61_100_840, marks=pytest.mark.slow),
        pytest.param(graphs.vgg16, 138_357_544, marks=pytest.mark.slow),
    ],
)
def test_parameter_counts_and_a_run(build: Callable[[], onnx.ModelProto], parameters: int) -> None:
    model = build()
    assert count(model) == parameters
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    sample = np.random.default_rng(0).standard_normal([1, *source.shape[1:]], np.float32)
    output = session.run(None, {source.name: sample})[0]
    assert 0.1 < output.std() < 100


def test_weights_are_seeded() -> None:
    assert graphs.mlp(16, 2).SerializeToString() == graphs.mlp(16, 2).SerializeToString()
    assert graphs.mlp(16, 2).SerializeToString() != graphs.mlp(16, 2, seed=1).SerializeToString()


def test_wide_writes_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_LARGEST_WIDTH", 100)
    monkeypatch.setattr(graphs, "_ROWS", 30)
    path = tmp_path / "wide.onnx"
    graphs.wide(25_000, path)
    onnx.checker.check_model(path, full_check=True)
    assert [list(weight.dims) for weight in onnx.load(path).graph.initializer] == [
        [100, 100],
        [100, 100],
        [50, 100],
    ]
    assert path.with_name("wide.onnx.data").stat().st_size == 4 * 25_000
    output = onnxruntime.InferenceSession(path).run(None, {"x": np.ones((2, 100), np.float32)})[0]
    assert output.shape == (2, 50) and output.std() > 0.1


def test_weight_files_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return print, ("ran",)

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match=r"^cannot read the weights in .*builtins.print has no place among weights$"):
        efficientnet.read_weights(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"^cannot read the weights"):
        efficientnet.read_weights(path)
