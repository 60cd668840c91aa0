"""Tables that are picked from by row: what is picked often is finer, and what never was is no garbage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian

import onnxsqueeze
from onnxsqueeze.budget import Budget
from onnxsqueeze.calibration.matrices import readings
from onnxsqueeze.model import Model
from onnxsqueeze.passes import grids
from onnxsqueeze.passes.rows import RowQuantizer, only_picked, row_weights
from onnxsqueeze.pipeline.unpack import unpack

Array = np.ndarray[Any, Any]
ROWS, WIDTH = 2000, 32


def tokens(second: str = "") -> onnx.ModelProto:
    """Tokens, an embedding of each, their mean, and scores of classes."""
    return build(
        f"(int64[n,24] ids) => (float[n,10] y) {{ e = Gather(table, ids)  {second}"
        "  m = ReduceMean<axes=[1], keepdims=0>(e)  r = MatMul(m, w)  y = Softmax(r) }",
        table=gaussian(ROWS, WIDTH),
        w=3 * gaussian(WIDTH, 10),
    )


def sentences(count: int, seed: int) -> list[dict[str, Array]]:
    """Token numbers as words fall, by Zipf's law."""
    shares = 1 / np.arange(1, ROWS + 1)
    rng = np.random.default_rng(seed)
    return [{"ids": rng.choice(ROWS, (4, 24), p=shares / shares.sum())} for _ in range(count)]


def test_weights_follow_picks_and_leave_something_for_others() -> None:
    counts = np.array([90, 8, 1, 1, 0, 0, 0, 0])
    weights = row_weights((counts / 100).astype(np.float32), 100)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights) <= 1e-12).all()
    assert weights[4:].sum() == pytest.approx(0.02), "two of a hundred picks were of rows picked once"
    assert row_weights(np.zeros(8, np.float32), 0) == pytest.approx(1 / 8)


def test_rows_of_more_weight_are_finer_and_none_is_garbage() -> None:
    weights = row_weights(np.array([0.01] * 100 + [0.0] * 1900, np.float32), 10_000)
    values = gaussian(ROWS, WIDTH)
    quantizer = RowQuantizer(values, 0, weights)
    found = quantizer.at(0.1, quantizer.scales[-1])
    assert found is not None and found.sharing.scale is not None and found.sharing.scale.axis == 0
    errors = np.square(found.values - values).mean(axis=1) / np.square(values).mean()
    assert errors[:100].mean() < errors[100:].mean() / 3
    assert errors.max() < 0.1
    assert found.error == pytest.approx(quantizer.error_of(found.values))


def test_tables_with_other_uses_are_left_to_weights_alone() -> None:
    for proto, expected in (
        (tokens(), {"table"}),
        (tokens("t = Transpose<perm=[1,0]>(table)  u = Shape(t)"), set()),
    ):
        model = Model.load(proto)
        assert only_picked(model, readings(model)) == expected


def test_rows_that_other_sentences_pick_are_closer_at_the_same_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    picked = np.concatenate([feed["ids"].reshape(-1) for feed in sentences(64, seed=7)])
    original, errors = gaussian(ROWS, WIDTH), []
    for found in (only_picked, lambda model, readings: set()):
        monkeypatch.setattr(grids, "only_picked", found)
        output = tmp_path / f"{len(errors)}.onnx"
        onnxsqueeze.compress(tokens(), output, calibration=sentences(64, seed=1), budget=Budget(target_size=36_000))
        model = Model.load(output)
        unpack(model, 1)
        table = next(w.values() for w in model.weights(ROWS) if w.shape == original.shape)
        errors.append(float(np.square(table - original)[picked].mean()))
    assert errors[0] < errors[1]
