"""Sensitivity: each weight alone, measured as it would be by hand, and the same after a break."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxsqueeze.calibration.probe import Probe
from onnxsqueeze.calibration.trial import Trial
from onnxsqueeze.errors import ModelError, PipelineError
from onnxsqueeze.model import Model
from onnxsqueeze.sensitivity import Sensitivity, measure, sensitivity
from onnxsqueeze.sensitivity.variants import BITS, SPARSITIES, Variants

Array = np.ndarray[Any, Any]

CLASSIFIER = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,96] x) => (float[n,10] y, float[n,128] h) {
    h = MatMul(x, a)  r = Relu(h)  z = MatMul(r, b)  y = Softmax(z)
}"""
BRANCHES = """<ir_version: 8, opset_import: ["" : 17]>
g (float[4,32] x, bool c) => (float[4,32] y) {
    k = Identity(w)
    t = Transpose <perm=[1,0]> (k)
    h = MatMul(x, t)
    z = If (c) <then_branch = yes () => (float[4,32] p) { p = MatMul(h, v) },
                else_branch = no () => (float[4,32] q) { q = Relu(h) }>
    y = Relu(z)
}"""


def gaussian(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def model(text: str, **weights: Array) -> onnx.ModelProto:
    made = parser.parse_model(text)
    made.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    return made


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """The second layer's last half hardly matters."""
    second = gaussian(128, 10)
    second[64:] /= 50
    onnx.save(model(CLASSIFIER, a=gaussian(96, 128), b=second), tmp_path / "in.onnx")
    np.savez(tmp_path / "s.npz", x=gaussian(40, 96) @ gaussian(96, 96, seed=1))
    return tmp_path / "in.onnx"


def plain(found: Sensitivity) -> Any:
    return dataclasses.replace(found, seconds=0, notes=())


def test_losses_are_those_of_the_whole_model(classifier: Path) -> None:
    found = sensitivity(classifier, calibration=classifier.with_name("s.npz"), samples=5)
    assert (found.measured, found.fitted, found.real) == (5, 30, True)
    assert found.measures == (("h", "variance"), ("y", "decisions"))
    assert {layer.weight for layer in found.layers} == {"a", "b"}
    whole = Model.load(classifier)
    rows = np.load(classifier.with_name("s.npz"))["x"]
    held_out = [{"x": rows[i : i + 1]} for i in range(3, 40, 4)][:5]
    trial = Trial(whole, held_out, 1)
    for layer in found.layers:
        assert [p.value for p in layer.sparsity] == list(SPARSITIES) and [p.value for p in layer.bits] == list(BITS)
        assert layer.sparsity[0].loss == 0 and layer.criterion == "obs"
        assert layer.sparsity[-1].shift > layer.sparsity[2].shift > 0 and layer.bits[0].shift > layer.bits[-1].shift
        assert layer.bits[0].nbytes < layer.bits[-1].nbytes < layer.dense_nbytes
    weight = next(w for w in whole.weights() if w.name == "b")
    values = weight.values().copy()
    variants = Variants(values, weight.channel_axis, None)
    changed, _ = variants.sparse(0.9)
    assert (changed == 0).mean() == pytest.approx(0.9, abs=0.001)
    probe = Probe(whole, "b", held_out)
    assert probe.outputs == ["y"], "only what the weight can change is run"
    weight.assign(changed)
    direct = trial.loss(whole)
    reference = measure.Reference(probe.outputs, {"y": -1}, probe.run(values))
    assert reference.compare(probe.run(changed)).value == pytest.approx(direct.outputs[0].value, abs=1e-6)


def test_weights_in_branches_and_behind_moves() -> None:
    proto = model(BRANCHES, w=gaussian(32, 32), v=gaussian(32, 32, seed=2))
    branch = next(a.g for n in proto.graph.node if n.op_type == "If" for a in n.attribute if a.name == "then_branch")
    inner = proto.graph.initializer.pop()
    branch.initializer.append(inner)
    loaded = Model.load(proto)
    feeds = [{"x": gaussian(4, 32, seed=i), "c": np.array(i < 2)} for i in range(3)]
    for name in [w.name for w in loaded.weights()]:
        weight = next(w for w in loaded.weights() if w.name == name)
        values = weight.values().copy()
        changed = np.where(np.abs(values) < 0.7, 0, values)
        probe, trial = Probe(loaded, name, feeds), Trial(loaded, feeds, 1)
        runs = probe.run(changed)
        reference = measure.Reference(probe.outputs, {}, probe.run(values))
        weight.assign(changed)
        assert reference.compare(runs).value == pytest.approx(trial.loss(loaded).value, rel=1e-4)
        weight.assign(values)
        if name != "w":
            assert np.array_equal(probe.run(values)[2][0], runs[2][0]), "the branch that does not run"


def test_the_same_on_any_number_of_workers(classifier: Path) -> None:
    one, three = (sensitivity(classifier, calibration=classifier.with_name("s.npz"), jobs=n) for n in (1, 3))
    assert plain(one) == plain(three)


def test_too_few_samples_are_told_of(classifier: Path) -> None:
    rows = np.load(classifier.with_name("s.npz"))["x"]
    for samples, note in ((rows[:1], "1 sample is too few"), (np.repeat(rows[:1], 9, 0), "all the same"), (rows, "")):
        found = sensitivity(classifier, calibration=[{"x": row[None]} for row in samples])
        assert any(note in told for told in found.notes) if note else not found.notes


def test_without_samples_inputs_are_made_and_that_is_said(classifier: Path) -> None:
    found = sensitivity(classifier)
    assert not found.real and found.fitted == 0 and "no real data" in found.data
    assert all(layer.criterion == "magnitude" for layer in found.layers)
    assert found.layers[0].sensitivity >= found.layers[1].sensitivity > 0


def test_a_score_decides(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import numpy, onnx
from onnx import numpy_helper
def zeros(path):
    weights = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    return sum(numpy.count_nonzero(w) for w in weights) / sum(w.size for w in weights)
"""
    (classifier.parent / "of_zeros.py").write_text(code)
    monkeypatch.chdir(classifier.parent)
    found = sensitivity(classifier, score="of_zeros:zeros", jobs=2)
    assert found.measures == (("score", "score"),)
    for layer in found.layers:
        share = layer.size / (96 * 128 + 128 * 10)
        assert [p.loss for p in layer.sparsity] == pytest.approx([s * share for s in SPARSITIES], abs=1e-3)


def test_an_interrupted_run_goes_on(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, samples = classifier.parent / "work", classifier.with_name("s.npz")
    whole = sensitivity(classifier, calibration=samples, jobs=1)
    inner = measure._Work._measure

    def breaks(self: Any, weight: Any) -> Any:
        if weight.name == "b":
            raise KeyboardInterrupt
        return inner(self, weight)

    monkeypatch.setattr(measure._Work, "_measure", breaks)
    with pytest.raises(KeyboardInterrupt):
        sensitivity(classifier, calibration=samples, jobs=1, work_dir=folder)
    monkeypatch.setattr(measure._Work, "_measure", inner)
    rest = sensitivity(classifier, calibration=samples, jobs=2, work_dir=folder)
    assert plain(rest) == plain(whole)
    assert rest.notes[-1] == "1 results were taken from the work folder, 1 made"
    other = sensitivity(classifier, calibration=samples, samples=3, work_dir=folder)
    assert "held nothing for this run" in other.notes[-1], "other options, other results"


def test_damaged_results_are_made_again(classifier: Path) -> None:
    folder = classifier.parent / "work"
    whole = sensitivity(classifier, work_dir=folder)
    first, second = sorted(folder.glob("layer-*.json"))
    first.write_bytes(first.read_bytes().replace(b"0.5", b"0.6", 1))
    kept = json.loads(second.read_bytes())
    second.write_text(json.dumps({**kept, "value": kept["value"][:-20]}))
    again = sensitivity(classifier, work_dir=folder)
    assert plain(again) == plain(whole)
    assert again.notes[-1].endswith("2 of the results in it were damaged, and made again")


def test_what_cannot_be_is_refused(classifier: Path) -> None:
    with pytest.raises(PipelineError, match="samples must be at least 1"):
        sensitivity(classifier, samples=0)
    onnx.save(model(CLASSIFIER.replace("96", "4").replace("128", "8"), a=gaussian(4, 8), b=gaussian(8, 10)), classifier)
    with pytest.raises(ModelError, match="holds no float weights of 256 elements or more"):
        sensitivity(classifier)
