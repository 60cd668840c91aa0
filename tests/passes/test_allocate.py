"""Allocation: a budget is met, measured on samples that nothing was fitted to, and met the same way each time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian

import onnxsqueeze
from onnxsqueeze.budget import Budget
from onnxsqueeze.calibration.moments import Moments
from onnxsqueeze.calibration.samples import drawn
from onnxsqueeze.calibration.trial import Proof, Trial
from onnxsqueeze.errors import PipelineError, SqueezeError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import rate_distortion
from onnxsqueeze.passes.grids import Grids
from onnxsqueeze.passes.quantizer import Inputs, Quantizer
from onnxsqueeze.passes.rate_distortion import Choice, predicted
from onnxsqueeze.passes.repair import Repair
from onnxsqueeze.passes.search import Search
from onnxsqueeze.pipeline import Context
from onnxsqueeze.pipeline.store import Store
from onnxsqueeze.pipeline.unpack import unpack

Array = np.ndarray[Any, Any]


def classifier() -> onnx.ModelProto:
    """Two layers of unequal worth: the outputs hardly follow half of the second one's inputs."""
    second = gaussian(128, 10)
    second[64:] /= 50
    return build(
        "(float[n,96] x) => (float[n,10] y) { h = MatMul(x, a)  r = Relu(h)  z = MatMul(r, b)  y = Softmax(z) }",
        a=gaussian(96, 128),
        b=second,
    )


def wide() -> onnx.ModelProto:
    return build("(float[n,512] x) => (float[n,256] y) { y = MatMul(x, w) }", w=gaussian(512, 256))


def correlated(count: int, width: int = 96, seed: int = 0) -> Array:
    """Rows that lie close to a few directions, as activations do."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, 8)) @ np.random.default_rng(9).standard_normal((8, width))
    return (mixed + 0.1 * rng.standard_normal((count, width))).astype(np.float32)


def feeds(count: int = 32, seed: int = 0) -> list[dict[str, Array]]:
    return [{"x": part} for part in np.split(correlated(8 * count, seed=seed), count)]


def quantizer(rows: int) -> tuple[Quantizer, Quantizer]:
    """One weight with second moments of its inputs, and the same without."""
    from onnxsqueeze.calibration.matrices import readings

    model = Model.load(classifier())
    weight = next(w for w in model.weights() if w.name == "a")
    x = correlated(rows)
    moments = Moments((x.T @ x / rows)[None, None], x.mean(axis=0)[None], np.zeros(0, np.float32), rows)
    inputs = Inputs.of(readings(model)["a"][0], moments)
    return Quantizer(weight.values(), weight.channel_axis, inputs), Quantizer(weight.values(), weight.channel_axis)


def test_carried_errors_hurt_new_inputs_less() -> None:
    ours, plain = quantizer(4096)
    x = correlated(2048, seed=1)

    def moved(found: Any) -> float:
        return float(np.square(x @ (found.values - ours.values)).mean())

    for fineness in (0.25, 0.5, 1.0):
        carried, rounded = ours.at(fineness, None), plain.at(fineness, None)
        assert carried is not None and rounded is not None
        assert moved(carried) < 0.5 * moved(rounded)
        assert carried.error == pytest.approx(ours.error_of(carried.values))


def test_few_rows_are_believed_less() -> None:
    """With fewer rows than inputs, what fits these rows exactly must not be taken for what fits all."""
    ours, plain = quantizer(24)
    x = correlated(2048, seed=1)
    carried, rounded = ours.at(0.5, None), plain.at(0.5, None)
    assert carried is not None and rounded is not None
    moved = [float(np.square(x @ (q.values - ours.values)).mean()) for q in (carried, rounded)]
    assert moved[0] < 1.1 * moved[1]


def test_tables_fall_in_bytes_and_rise_in_error() -> None:
    table = rate_distortion.measure("a", quantizer(512)[0])
    assert table is not None
    for curve in table.curves:
        assert (np.diff(curve.errors) >= 0).all()
        assert curve.nbytes[-1] < curve.nbytes[0] < table.dense_nbytes
    choices = [table.choose(2.0**m) for m in range(-40, 60, 4)]
    costs = [table.cost(c) for c in choices]
    assert all(a[0] <= b[0] + 1 and a[1] >= b[1] - 1e-9 for a, b in itertools.pairwise(costs))
    assert choices[-1] is None, "where any loss is too much, the weight stays as it is"


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.2])
def test_a_loss_is_held_on_samples_held_out(limit: float) -> None:
    result = onnxsqueeze.compress(classifier(), calibration=feeds(64), budget=Budget(max_loss=limit))
    account = result.account
    assert account is not None
    assert (account.fitted, account.steering, account.held_out) == (32, 16, 16)
    assert max(max(o.measured, o.expected) for o in account.held_out_loss) <= limit
    assert result.ratio > 3
    assert result.passes == f"fold,allocate{{loss={limit}}},huffman"


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_samples_that_are_all_the_same_end(value: float) -> None:
    """Differences from the mean are nothing but rounding then."""
    samples = [{"x": np.full((1, 96), value, np.float32)} for _ in range(16)]
    result = onnxsqueeze.compress(classifier(), calibration=samples, budget=Budget(max_loss=0.02))
    assert result.verification is not None and result.ratio >= 1


def test_the_same_bytes_on_any_number_of_workers(tmp_path: Any) -> None:
    for jobs in (1, 3):
        onnxsqueeze.compress(
            classifier(), tmp_path / f"{jobs}.onnx", calibration=feeds(), budget=Budget(max_loss=0.02), jobs=jobs
        )
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "3.onnx").read_bytes()


def test_a_size_is_met_or_refused_with_the_smallest() -> None:
    samples, size = [{"x": part} for part in np.split(correlated(64, 512), 8)], 60_000
    result = onnxsqueeze.compress(wide(), calibration=samples, budget=Budget(target_size=size))
    assert 0.99 * size <= result.compressed_nbytes <= size
    with pytest.raises(SqueezeError, match=r"cannot be as small as 500 bytes; the smallest reachable is [\d,]+"):
        onnxsqueeze.compress(wide(), calibration=samples, budget=Budget(target_size=500))


def test_without_data_inputs_are_made_and_that_is_said() -> None:
    result = onnxsqueeze.compress(wide(), budget=Budget(target_ratio=8))
    assert 8 <= result.ratio < 8.09
    assert result.verification is not None
    assert "made from the signature, no real data" in result.verification.inputs


def test_a_budget_is_one_thing_and_chooses_the_passes() -> None:
    with pytest.raises(PipelineError, match="give one of them"):
        Budget(max_loss=0.1, target_size=100)
    with pytest.raises(PipelineError, match="a budget chooses the passes"):
        onnxsqueeze.compress(classifier(), passes="share", budget=Budget(max_loss=0.1))


def deep() -> onnx.ModelProto:
    """Four layers with biases behind them, where errors of the first ones add up."""
    text = "(float[n,96] x) => (float[n,12] y) {"
    tensors, before = {}, "x"
    for i in range(4):
        tensors |= {
            f"w{i}": gaussian(96, 12 if i == 3 else 96, seed=i),
            f"b{i}": gaussian(12 if i == 3 else 96, seed=i),
        }
        last = "y" if i == 3 else f"a{i}"
        text += f" m{i} = MatMul({before}, w{i}) {last} = Add(m{i}, b{i})"
        text += f" r{i} = Relu(a{i})" if i < 3 else " }"
        before = f"r{i}"
    return build(text, **tensors)


def grids(model: Model, samples: list[dict[str, Array]], folder: Any) -> Grids:
    weights = [w for w in model.weights(256) if w.name.startswith("w")]
    return Grids(model, weights, samples, Context(jobs=2), folder)


def test_fitting_in_order_makes_up_for_what_came_before(tmp_path: Any) -> None:
    model, samples = Model.load(deep()), feeds(16)
    unseen = Trial(model, feeds(32, seed=5), 2)
    ours = grids(model, samples, tmp_path)
    for fineness in (0.5, 1.0):
        choices = {f"w{i}": Choice(fineness, False) for i in range(4)}
        ours.apply(choices)
        plain = unseen.loss(model).value
        ours.refit(choices)
        assert unseen.loss(model).value < 0.8 * plain


def test_grids_come_back_bit_for_bit(tmp_path: Any) -> None:
    model = Model.load(deep())
    before = model.proto.SerializeToString()
    ours = grids(model, feeds(16), tmp_path)
    choices = {f"w{i}": Choice(0.7, False) for i in range(4)}
    ours.refit(choices)
    fitted, state = model.proto.SerializeToString(), ours.state()
    ours.apply(choices)
    assert model.proto.SerializeToString() != fitted
    ours.put(state)
    assert model.proto.SerializeToString() == fitted
    ours.refit(choices)
    assert model.proto.SerializeToString() == fitted, "the same again"
    ours.restore()
    assert model.proto.SerializeToString() == before


def test_samples_that_alternate_are_mixed() -> None:
    for every in (2, 3, 4):
        places = drawn(64, every)
        assert len(set(places)) == 64 // every
        assert {p % 2 for p in places} == {0, 1}


def test_weights_on_other_grids_come_back_bit_for_bit(tmp_path: Any) -> None:
    model = Model.load(deep())
    ours = grids(model, feeds(16), tmp_path)
    choices = {f"w{i}": Choice(0.7, False) for i in range(4)}
    ours.refit(choices)
    fitted = model.proto.SerializeToString()
    assert ours.fitted == choices
    others: dict[str, Choice | None] = {**choices, "w1": Choice(0.2, False), "w3": None}
    ours.adjust(others)
    changed = model.proto.SerializeToString()
    assert changed != fitted
    ours.adjust(choices)
    assert model.proto.SerializeToString() == fitted, "as they were fitted"
    ours.apply(choices)
    ours.adjust(others)
    assert model.proto.SerializeToString() == changed, "wherever they come from"


def test_repair_keeps_what_holds_and_takes_fewer_bytes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxsqueeze.passes.repair.MOVES", 12)
    model, samples = Model.load(deep()), feeds(24)
    fitted, steering, held = samples[:12], samples[12:18], samples[18:]
    trial, counts = Trial(model, steering + fitted, 2), (len(steering), None)
    steered, unseen = Trial(model, steering, 2), Trial(model, held, 2)
    proof, limit = Proof(Trial(model, held + steering, 2), len(held)), 0.05
    ours = grids(model, fitted, tmp_path)
    tables = [t.with_gains([1 / t.energy] * len(t.curves)) for t in ours.tables()]
    search = Search(model, ours, tables, limit, steered, Store(), lambda text: None)
    assert search.run(proof, True) and search.best
    before = predicted(tables, [ours.now[t.name] for t in tables])[0]
    Repair(model, ours, tables, limit, trial, counts, Store(), lambda text: None).run(search.best, proof)
    assert predicted(tables, [ours.now[t.name] for t in tables])[0] < before
    assert steered.loss(model).bound <= limit
    assert unseen.loss(model).value <= proof.loss(model) <= limit
    assert proof.loss(model) >= Trial(model, steering + held, 2).loss(model).bound * (1 - 1e-6)


def test_a_state_that_is_zero_in_all_samples_is_told_of(tmp_path: Any) -> None:
    """What acts on it alone is not judged: in use it is not zero."""
    text = "(float[n,64] x, float[n,64] h) => (float[n,10] y) { a = Add(x, h)  y = MatMul(a, w) }"
    samples = [{"x": gaussian(1, 64, seed=seed), "h": np.zeros((1, 64), np.float32)} for seed in range(8)]
    budget = Budget(max_loss=0.05)
    result = onnxsqueeze.compress(
        build(text, w=gaussian(64, 10)), tmp_path / "out.onnx", calibration=samples, budget=budget
    )
    assert [note for note in result.notes if "'h' is zero in all samples" in note]
    assert not [note for note in result.notes if "'x' is zero" in note]


def test_what_samples_do_not_reach_keeps_its_values_and_is_told_of(tmp_path: Any) -> None:
    made = build(
        "(float[n,96] x, float[1] on) => (float[n,64] y) "
        "{ p = MatMul(x, a)  q = MatMul(x, b)  r = Mul(q, on)  y = Add(p, r) }",
        a=gaussian(96, 64),
        b=gaussian(96, 64, seed=1),
    )
    off = np.zeros(1, np.float32)
    result = onnxsqueeze.compress(
        made,
        tmp_path / "out.onnx",
        calibration=[feed | {"on": off} for feed in feeds(32)],
        budget=Budget(max_loss=0.05),
    )
    assert any("'b' changes no output" in note for note in result.notes)
    packed = Model.load(tmp_path / "out.onnx")
    unpack(packed, 1)
    dense = {w.name: w.values() for w in packed.weights()}
    errors = {
        w.name: float(np.square(dense[w.name] - w.values()).sum() / np.square(w.values()).sum())
        for w in Model.load(made).weights()
    }
    assert 0 < errors["b"] <= 1e-3 < errors["a"]


def test_a_score_alone_decides_where_outputs_are_text(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared then, which must not pass for weights that samples do not reach."""
    made = build(
        "(float[n,96] x) => (string[n] y) "
        "{ h = MatMul(x, a)  k = ArgMax<axis = 1, keepdims = 0>(h)  y = Cast<to = 8>(k) }",
        a=gaussian(96, 64),
    )
    (tmp_path / "scored_by_size.py").write_text("def score(path):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    budget = Budget(max_loss=0.05, score="scored_by_size:score")
    result = onnxsqueeze.compress(made, tmp_path / "out.onnx", calibration=feeds(16), budget=budget)
    assert result.ratio > 3
    assert not any("change" in note and "no output" in note for note in result.notes)
