"""Steps of decoding a packed weight, and their time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxsqueeze
from onnxsqueeze import cost
from onnxsqueeze.cost import decoding
from onnxsqueeze.cost.device import DECODERS
from onnxsqueeze.cost.fit import with_constants
from onnxsqueeze.encode import Note, Pattern, Sharing, plans, smallest

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


def test_steps_are_those_of_the_operator() -> None:
    values = np.random.default_rng(0).integers(1, 5, (64, 64)).astype(np.float32)
    values.reshape(-1, 4)[:, :2] = 0
    sharing = Sharing(np.arange(5, dtype=np.float32))
    kinds = ["Dense_P3", "Gaps_P2_P2", "NM_P2_P2", "Gaps_P2_Raw32"]
    found = {**plans(values, Note(sharing, Pattern(2, 4, 1)), kinds), **plans(values, Note(), kinds)}
    total, half = values.size, values.size // 2
    for kind, plan in found.items():
        steps = decoding.steps(plan.build())
        assert set(steps) <= set(DECODERS), kind
        if kind.startswith("Dense"):
            assert steps["lookup"] == total and "scatter" not in steps
        elif kind.startswith("Gaps"):
            assert steps["fill"] == total and steps["scatter"] >= half
        else:
            assert steps["group"] == total and steps["unpack"] >= half
    assert any(kind.startswith("Gaps") for kind in found) and any(kind.startswith("NM") for kind in found)
    fill = smallest(np.ones((64, 64), np.float32), Note())
    assert fill is not None and decoding.steps(fill) == {"fill": total}


def test_time_to_decode_is_told_where_the_profile_knows_it(tmp_path: Path) -> None:
    onnxsqueeze.compress(LENET, tmp_path / "small.onnx", "share{bits=4},huffman")
    dense, packed = cost.analyse(LENET), cost.analyse(tmp_path / "small.onnx")
    usual = cost.load_device("generic-cpu")
    measured = with_constants(usual, {f"decode.{step}": 1e9 for step in DECODERS}, "test")
    assert cost.estimate(packed, usual).decode_seconds == 0 == cost.estimate(dense, measured).decode_seconds
    steps = sum(count for weight in packed.weights for _, count in weight.decoding)
    assert cost.estimate(packed, measured).decode_seconds == pytest.approx(steps / 1e9)
