"""Thresholds of Relu: where they go, that they give the zeros asked for, and that the loss stays within its bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian, mlp

from onnxsqueeze.calibration.observe import observe, zeros
from onnxsqueeze.calibration.trial import Trial
from onnxsqueeze.model import Model
from onnxsqueeze.passes.fatrelu import Fatrelu
from onnxsqueeze.pipeline import Context


def context(count: int = 32, notes: list[str] | None = None) -> Context:
    rng = np.random.default_rng(0)
    feeds = tuple({"x": rng.standard_normal((2, 64)).astype(np.float32)} for _ in range(count))
    return Context(calibration=feeds, notes=[].append if notes is None else notes.append)


def cut(model: Model) -> Iterator[float]:
    for node in model.proto.graph.node:
        if node.op_type == "ThresholdedRelu":
            yield node.attribute[0].f


@pytest.mark.parametrize("sparsity", [0.6, 0.9, 0.97])
def test_so_many_zeros_as_asked_for(sparsity: float) -> None:
    model = Model.load(mlp())
    assert Fatrelu(sparsity=sparsity)(model, context()) == 2
    found = observe(model, ["r"], context().calibration or (), zeros)[0]
    assert sparsity - 0.01 <= np.mean(found) <= sparsity + 0.01


def test_fewer_zeros_than_there_are_change_nothing() -> None:
    model = Model.load(mlp())
    before = model.proto.SerializeToString()
    assert Fatrelu(sparsity=0.2)(model, context()) == 0
    assert Fatrelu(threshold=0.0)(model, context()) == 0
    assert model.proto.SerializeToString() == before


def test_thresholds_cut() -> None:
    model = Model.load(mlp())
    assert Fatrelu(threshold=0.75)(model, Context()) == 2
    assert list(cut(model)) == [0.75, 0.75]
    values: list[Any] = observe(model, ["r"], context().calibration or (), lambda value: value)[0]
    plain = observe(Model.load(mlp()), ["r"], context().calibration or (), lambda value: value)[0]
    for value, other in zip(values, plain, strict=True):
        assert np.array_equal(value, np.where(other > 0.75, other, 0))


def test_the_loss_stays_within_its_bound() -> None:
    counts = {}
    for loss in (0.0005, 0.05):
        model, given = Model.load(mlp()), context()
        trial = Trial(Model.load(mlp()), given.calibration or (), 1)
        counts[loss] = Fatrelu(loss=loss)(model, given)
        assert trial.loss(model).value <= loss
    assert counts[0.05] > counts[0.0005]


def test_without_samples_nothing_is_done() -> None:
    notes: list[str] = []
    assert Fatrelu()(Model.load(mlp()), Context(notes=notes.append)) == 0
    assert "calibration" in notes[0]


def test_only_in_front_of_layers() -> None:
    text = """(float[1,16,4,4] x) => (float[1,8,4,4] y, float[1,10] z) {
        a = Relu(x)  b = Conv(a, w)  c = Relu(b)  d = Flatten(c)  z = Gemm(d, v)  e = Neg(b)  y = Relu(e) }"""
    proto = build(text, w=gaussian(8, 16, 1, 1), v=gaussian(128, 10))
    for where, wanted in (("products", ["c"]), ("layers", ["a", "c"])):
        model = Model.load(proto)
        assert Fatrelu(threshold=0.1, where=where)(model, Context()) == len(wanted)
        assert [n.output[0] for n in model.proto.graph.node if n.op_type == "ThresholdedRelu"] == wanted


def test_other_types_and_old_opsets() -> None:
    half = Model.load(mlp(np.float16))
    assert Fatrelu(threshold=0.1)(half, Context()) == 0
    old = Model.load(mlp(opset=9))
    assert Fatrelu(threshold=0.1)(old, Context()) == 2
    onnx.checker.check_model(old.proto, full_check=True)
    assert old.opset >= 10


@pytest.mark.parametrize("options", [{"threshold": 1.0, "sparsity": 0.5}, {"where": "nodes"}, {"threshold": -1.0}])
def test_refusals(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"threshold|where"):
        Fatrelu(**options)
