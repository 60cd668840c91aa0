"""Criteria from calibration inputs, and the update of what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import MODELS, build, gaussian

from onnxsqueeze.encode import Pattern
from onnxsqueeze.errors import PassError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.passes.criteria import CRITERIA
from onnxsqueeze.passes.surgeon import (
    Change,
    Factors,
    compensate,
    compensate_groups,
    damping,
    factor,
    output_error,
    shrinkage,
)
from onnxsqueeze.pipeline import Context, parse

Array = np.ndarray[Any, Any]


def moments(size: int, seed: int = 0, rows: int = 400) -> Array:
    """Of inputs that depend on one another."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((rows, size)) @ (
        np.eye(size) + rng.standard_normal((size, size)) / (3 * np.sqrt(size))
    )
    return (inputs.T @ inputs / rows).astype(np.float32)


def removed(weights: Array, keep: Array, factors: Factors, **options: int) -> Array:
    def plan(start: int, columns: Array) -> Change:
        return lambda j, now: np.where(keep[:, j], now, 0)

    return compensate(weights, factors.upper, plan, **options)


def test_one_weight_removed_is_the_closed_form() -> None:
    """Hassibi and Stork 1993, equation 5."""
    matrix, weights = moments(40), gaussian(3, 40)
    keep = np.ones(weights.shape, bool)
    keep[:, 0] = False
    inverse = np.linalg.inv(matrix.astype(np.float64))
    expected = weights - np.outer(weights[:, 0], inverse[0] / inverse[0, 0])
    factors = factor(matrix, damping=0)
    made = removed(weights, keep, factors)
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert (made[:, 0] == 0).all()
    np.testing.assert_allclose(output_error(made - weights, factors), weights[:, 0] ** 2 / inverse[0, 0], rtol=1e-3)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 129, 300])
def test_many_weights_removed_are_the_closed_form_one_by_one(size: int) -> None:
    matrix, weights = moments(size), gaussian(5, size)
    keep = np.random.default_rng(1).random(weights.shape) > 0.5
    expected = weights.astype(np.float64)
    for j in range(size):
        inverse = np.linalg.inv(matrix[j:, j:].astype(np.float64))
        expected[:, j:] -= np.outer(np.where(keep[:, j], 0, expected[:, j]), inverse[0] / inverse[0, 0])
    made = removed(weights, keep, factor(matrix, damping=0))
    np.testing.assert_allclose(made, expected, atol=2e-3)
    assert (made[~keep] == 0).all()


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 200), seed=st.integers(0, 10**6), unit=st.integers(1, 20), blocks=st.integers(1, 9))
def test_columns_are_planned_once_each_and_in_order(size: int, seed: int, unit: int, blocks: int) -> None:
    planned: list[int] = []

    def plan(start: int, columns: Array) -> Change:
        assert len(columns) <= unit * blocks and start % unit == 0
        planned.extend(range(start, start + len(columns)))
        return lambda j, now: now

    weights = gaussian(3, size, seed=seed)
    made = compensate(weights, factor(moments(size, seed)).upper, plan, unit, unit * blocks)
    assert planned == list(range(size))
    assert np.array_equal(made, weights)


@pytest.mark.parametrize("rank", [0, 1, 10])
def test_inputs_that_are_few_or_none_are_no_trouble(rank: int) -> None:
    inputs = gaussian(max(rank, 1), 30) * (rank > 0)
    factors = factor(inputs.T @ inputs)
    weights = gaussian(4, 30)
    keep = np.random.default_rng(1).random(weights.shape) > 0.5
    made = removed(weights, keep, factors)
    assert np.isfinite(made).all()
    expected = np.square((made - weights) @ inputs.T).sum(axis=1)
    np.testing.assert_allclose(output_error(made - weights, factors), expected, atol=1e-3)


def test_what_rounding_leaves_below_zero_is_damped() -> None:
    found = factor(np.diag([-1e-9, 1e-12, -1e-9]).astype(np.float32), damping=0)
    assert np.isfinite(found.upper).all() and (np.diag(found.root) > 0).all()


def mixing(size: int) -> Array:
    """Channels of different power, most of which neighbours share."""
    spread = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return np.exp(-spread / 3) * np.linspace(0.1, 2, size)


def feeds(model: onnx.ModelProto, count: int = 6) -> tuple[dict[str, Array], ...]:
    kinds = {1: np.float32, 10: np.float16, 11: np.float64}
    made = []
    for number in range(count):
        rng, feed = np.random.default_rng(number), {}
        for value in model.graph.input:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            kind = value.type.tensor_type.elem_type
            if kind in kinds:
                axis = 1 if len(shape) == 4 else -1
                mixed = np.moveaxis(np.moveaxis(rng.standard_normal(shape), axis, -1) @ mixing(shape[axis]), -1, axis)
                feed[value.name] = mixed.astype(kinds[kind])
            elif kind == onnx.TensorProto.BOOL:
                feed[value.name] = np.array(number % 2 == 0)
            else:
                feed[value.name] = rng.integers(0, 50, shape)
        made.append(feed)
    return tuple(made)


def prune(model: onnx.ModelProto, options: str, jobs: int = 1) -> tuple[int, Model]:
    changed = Model.load(model)
    (step,) = parse(f"prune{{{options}}}", PASSES)
    return step(changed, Context(calibration=feeds(model), jobs=jobs)), changed


OPTIONS = [
    "sparsity=0.6 minimum=64 criterion=wanda",
    "sparsity=0.6 minimum=64",
    "granularity=2:4 minimum=64 permute=true",
    "granularity=1:8 minimum=64 criterion=wanda",
    "granularity=block(4x4) sparsity=0.5 minimum=64",
    "sparsity=0.5 scope=global minimum=64",
    "error=0.1 minimum=64",
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", OPTIONS)
def test_every_model(options: str, name: str) -> None:
    before = {w.name: w.values() for w in Model.load(MODELS[name]()).weights()}
    changes, model = prune(MODELS[name](), options)
    onnx.checker.check_model(model.proto, full_check=True)
    after = {w.name: w for w in model.weights()}
    differing = 0
    for key, weight in after.items():
        values = weight.values()
        assert np.isfinite(values).all()
        differing += values.tobytes() != before[key].tobytes()
        if "permute" not in options:
            assert (values[before[key] == 0] == 0).all(), "what is zero stays zero"
        if weight.note and weight.note.pattern:
            check_pattern(values, weight.note.pattern)
    assert bool(changes) == bool(differing)
    again = prune(MODELS[name](), options, jobs=3)[1]
    assert all(w.values().tobytes() == after[w.name].values().tobytes() for w in again.weights())


def check_pattern(values: Array, pattern: Pattern) -> None:
    moved = np.moveaxis(values, pattern.axis, -1)
    assert (np.count_nonzero(moved.reshape(-1, pattern.group), axis=1) <= pattern.kept).all()


def layer(kind: str) -> tuple[onnx.ModelProto, Array]:
    """One product, and its weight."""
    if kind == "gemm":
        weight = gaussian(48, 64)
        return build("(float[9,64] x) => (float[a,b] y) { y = Gemm <transB=1> (x, w) }", w=weight), weight
    if kind == "matmul":
        weight = gaussian(64, 48)
        return build("(float[2,9,64] x) => (float[a,b,c] y) { y = MatMul(x, w) }", w=weight), weight
    groups = 4 if kind == "grouped" else 1
    weight = gaussian(48, 16 // groups, 3, 3)
    text = f"(float[1,16,7,8] x) => (float[a,b,c,d] y) {{ y = Conv <group={groups}, pads=[1,1,1,1]> (x, w) }}"
    return build(text, w=weight), weight


def layer_error(model: onnx.ModelProto, after: Model) -> float:
    from onnxruntime import InferenceSession

    protos = (model, after.proto)
    sessions = [InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]) for m in protos]
    outputs = [[session.run(None, feed)[0] for feed in feeds(model)] for session in sessions]
    return float(np.mean(np.square(np.subtract(*outputs))))


KINDS = ("gemm", "matmul", "conv", "grouped")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", ["sparsity=0.5", "granularity=2:4"])
def test_each_criterion_beats_magnitude_on_what_it_was_given(kind: str, target: str) -> None:
    model, _ = layer(kind)
    errors = {name: layer_error(model, prune(model, f"{target} criterion={name}")[1]) for name in CRITERIA}
    assert errors["auto"] == errors["obs"]
    assert errors["obs"] < 0.95 * min(errors["obd"], errors["wanda"], errors["magnitude"])
    if target == "sparsity=0.5":
        assert errors["obd"] < errors["magnitude"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", ["sparsity=0.3", "sparsity=0.9", "granularity=1:4", "granularity=row sparsity=0.5"])
def test_the_update_is_never_worse_than_plain_removal(kind: str, target: str) -> None:
    model, weight = layer(kind)
    changed = prune(model, target)[1]
    values = changed.weights()[0].values()
    plain = Model.load(model)
    plain.weights()[0].assign(np.where(values == 0, np.float32(0), weight))
    assert layer_error(model, changed) <= layer_error(model, plain) * (1 + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_sparsity_is_as_asked_for(kind: str, criterion: str) -> None:
    model, _ = layer(kind)
    values = prune(model, f"sparsity=0.6 criterion={criterion}")[1].weights()[0].values()
    assert np.mean(values == 0) == pytest.approx(0.6, abs=0.02)
    if criterion == "wanda":
        outputs = values if kind != "matmul" else values.T
        assert len({int(np.count_nonzero(output)) for output in outputs}) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["2:4", "1:2", "3:8"])
def test_n_of_m_is_full(kind: str, pattern: str) -> None:
    kept, group = map(int, pattern.split(":"))
    if kind == "grouped" and group == 8:
        return
    model, _ = layer(kind)
    values = prune(model, f"granularity={pattern}")[1].weights()[0].values()
    moved = np.moveaxis(values, 0 if kind == "matmul" else 1, -1).reshape(-1, group)
    assert (np.count_nonzero(moved, axis=1) == kept).all()


def test_obd_is_the_diagonal_of_the_second_derivative() -> None:
    model, weight = layer("gemm")
    values = prune(model, "sparsity=0.5 criterion=obd")[1].weights()[0].values()
    inputs = np.concatenate([feed["x"] for feed in feeds(model)])
    power = np.square(inputs).mean(axis=0)
    saliency = weight**2 * (power + 0.01 * power.mean())
    assert saliency[values == 0].max() <= saliency[values != 0].min() * (1 + 1e-5)


def test_what_is_pruned_already_stays() -> None:
    model, _ = layer("conv")
    _, once = prune(model, "sparsity=0.5")
    assert prune(once.proto, "sparsity=0.4")[0] == 0
    assert prune(once.proto, "sparsity=0.6")[0] == 1


def test_a_criterion_without_calibration_is_refused() -> None:
    model, _ = layer("gemm")
    (step,) = parse("prune{sparsity=0.5 criterion=wanda}", PASSES)
    with pytest.raises(PassError, match="needs calibration inputs"):
        step(Model.load(model), Context())


def test_weights_of_which_samples_say_nothing_are_said_to_be_pruned_by_magnitude() -> None:
    notes: list[str] = []
    model = MODELS["embedding"]()
    changed = Model.load(model)
    (step,) = parse("prune{sparsity=0.5}", PASSES)
    assert step(changed, Context(calibration=feeds(model), notes=notes.append)) == 2
    assert any("'table' pruned by magnitude" in note for note in notes)


@pytest.mark.parametrize(("groups", "outputs", "inputs"), [(1, 5, 9), (40, 1, 25), (9, 3, 16)])
def test_groups_together_are_groups_one_by_one(groups: int, outputs: int, inputs: int) -> None:
    weights = gaussian(groups, outputs, inputs) * 4
    uppers = np.stack([factor(moments(inputs, seed)).upper for seed in range(groups)])
    made = np.empty((inputs, groups, outputs), np.float32)

    def together(j: int, now: Array) -> Array:
        made[j] = np.round(now)
        return made[j]

    def plan(start: int, columns: Array) -> Change:
        return lambda j, now: np.round(now)

    compensate_groups(weights, uppers, together)
    expected = [compensate(w, upper, plan) for w, upper in zip(weights, uppers, strict=True)]
    np.testing.assert_array_equal(made.transpose(1, 2, 0), np.stack(expected))


def test_few_rows_are_drawn_to_equal_inputs() -> None:
    shares = [shrinkage(moments(40, rows=rows), rows) for rows in (3, 10, 100, 10000)]
    assert 0.01 <= shares[-1] < shares[2] < shares[1] < shares[0] <= 1
    matrix = moments(40, rows=10)
    assert damping(matrix, 10) == pytest.approx(shares[1] / (1 - shares[1])) or shares[1] > 0.5
    assert damping(np.eye(8, dtype=np.float32), 10) == 1, "at most as much again"
