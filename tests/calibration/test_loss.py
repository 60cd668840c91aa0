"""What counts as loss: decisions that change, variance that is unexplained, and a model that always says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxsqueeze.calibration.loss import Reference

Array = np.ndarray[Any, Any]


def logits(count: int = 200, classes: int = 5) -> list[Array]:
    rows = np.random.default_rng(0).standard_normal((count, classes)).astype(np.float32)
    return list(np.split(rows, count))


def reference(runs: list[Array], axes: dict[str, int] | None = None) -> Reference:
    return Reference(["y"], axes or {}, [[run] for run in runs])


def test_decisions_that_change_are_counted() -> None:
    runs = logits()
    changed = [run if i % 10 else -run for i, run in enumerate(runs)]
    loss = reference(runs, {"y": -1}).compare([[run] for run in changed])
    assert loss.outputs[0].kind == "decisions"
    assert loss.measured == pytest.approx(0.1)
    assert reference(runs, {"y": -1}).compare([[run] for run in runs]).value == 0


def test_other_outputs_lose_variance() -> None:
    runs = logits()
    moved = [run + np.float32(0.1) for run in runs]
    loss = reference(runs).compare([[run] for run in moved])
    assert loss.outputs[0].kind == "variance"
    assert loss.measured == pytest.approx(0.01 / np.concatenate(runs).var(), rel=1e-3)


def test_samples_of_one_class_do_not_let_a_constant_pass() -> None:
    runs = [np.abs(run) * [10, 1, 1, 1, 1] + [20, 0, 0, 0, 0] for run in logits()]
    runs = [run.astype(np.float32) for run in runs]
    assert len({int(run.argmax()) for run in runs}) == 1
    constant = np.mean(runs, axis=0, dtype=np.float32)
    loss = reference(runs, {"y": -1}).compare([[constant]] * len(runs))
    assert loss.measured == 0
    assert loss.value > 0.5


def test_another_shape_or_nothing_finite_is_a_total_loss() -> None:
    runs = logits(8)
    assert reference(runs, {"y": -1}).compare([[run[:, :3]] for run in runs]).value > 0.5
    assert reference(runs).compare([[run * np.nan] for run in runs]).value > 1


def test_labels_are_decisions() -> None:
    """Whole numbers and truth values have no margins: what counts is how many are others."""
    runs = [np.arange(10), np.arange(10) % 3]
    changed = [np.where(run == 4, 5, run) for run in runs]
    for kind in (np.int64, np.int32, np.uint8):
        judge = reference([run.astype(kind) for run in runs])
        loss = judge.compare([[run.astype(kind)] for run in changed])
        assert (loss.outputs[0].kind, loss.outputs[0].count, loss.value) == ("decisions", 20, 0.05)
        assert loss.bound > loss.value
        assert judge.compare([[run.astype(kind)] for run in runs]).bound == 0
    truth = reference([run > 1 for run in runs])
    assert truth.compare([[run > 1] for run in changed]).value == 0
    assert truth.compare([[run > 0] for run in runs]).value == 4 / 20


def test_labels_of_another_number_have_all_changed() -> None:
    judge = reference([np.arange(6), np.arange(2)])
    assert judge.compare([[np.arange(6)], [np.arange(3)]]).value == 2 / 8


def test_text_is_not_judged() -> None:
    assert reference([np.array(["a", "b"], object)]).names == []


@pytest.mark.parametrize("seed", range(8))
def test_doubt_is_at_least_what_counted_changes_leave(seed: int) -> None:
    """What similar decisions do is smooth, and so varies less from sample to sample than what is counted."""
    random = np.random.default_rng(seed)
    before = [random.standard_normal((50, 4)).astype(np.float32) for _ in range(16)]
    after = [rows + 0.05 * random.standard_normal(rows.shape).astype(np.float32) for rows in before]
    (loss,) = Reference(["y"], {"y": -1}, [[rows] for rows in before]).compare([[rows] for rows in after]).outputs
    shares = [(a.argmax(1) != b.argmax(1)).mean() for a, b in zip(before, after, strict=True)]
    assert loss.measured == pytest.approx(np.mean(shares))
    assert loss.doubt >= np.std(shares, ddof=1) / 4 * (1 - 1e-6)
