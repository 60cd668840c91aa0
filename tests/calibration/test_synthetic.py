"""Made-up inputs: the noise is taken that fits what BatchNormalization layers keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxsqueeze.calibration import synthetic
from onnxsqueeze.calibration.synthetic import COLOURS, SPANS, Kind, fitting

Array = np.ndarray[Any, Any]


def plain(count: int = 4) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((1, 3, 32, 32)).astype(np.float32)} for _ in range(count)]


def model(kind: Kind) -> onnx.ModelProto:
    """A network whose statistics are those that this noise gives."""
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,32,32] x) => (float[1,8,30,30] y)'
        "{ h = Conv <kernel_shape=[3,3]> (x, w)  y = BatchNormalization(h, gamma, beta, mean, var) }"
    )
    weight = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    made = np.concatenate([f["x"] for f in synthetic._made(kind, plain(16), 7)])
    windows = np.lib.stride_tricks.sliding_window_view(made, (3, 3), (2, 3))
    values = np.einsum("nchwij,ocij->onhw", windows, weight).reshape(8, -1)
    tensors = {"w": weight, "gamma": np.ones(8), "beta": np.zeros(8), "mean": values.mean(1), "var": values.var(1)}
    proto.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), n) for n, v in tensors.items())
    return proto


@pytest.mark.parametrize("kind", [Kind(0.0, 0.0, 2.0), Kind(1.0, 0.5, 0.25), Kind(1.5, 127.0, 64.0)])
def test_the_noise_behind_the_statistics_is_found(kind: Kind) -> None:
    found = fitting(model(kind), plain(), 0)
    assert found is not None
    values = np.concatenate([f["x"] for f in found])
    assert len(found) == 4
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(kind.mean, abs=0.3 * kind.deviation)
    assert values.std() == pytest.approx(kind.deviation, rel=0.2)
    neighbours = np.corrcoef(values[..., 1:].reshape(-1), values[..., :-1].reshape(-1))[0, 1]
    assert (neighbours > 0.5) == (kind.colour > 0)


def test_the_same_seed_gives_the_same_noise() -> None:
    first, again = (fitting(model(Kind(1.0, 0.0, 1.0)), plain(), 3) for _ in range(2))
    assert first is not None
    assert again is not None
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(first, again, strict=True))


def test_without_statistics_nothing_is_said() -> None:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,32,32] x) => (float[1,3,32,32] y) { y = Relu(x) }'
    )
    assert fitting(proto, plain(), 0) is None


def test_what_is_no_picture_stays() -> None:
    rng = np.random.default_rng(0)
    for value in (np.arange(6).reshape(1, 2, 3), np.ones((4, 50), np.float32), np.ones((1, 2, 3), np.float32)):
        assert Kind(COLOURS[1], *SPANS[0]).like(value, rng) is value
