"""Targets of a device: met, by what helps on it, with the loss told, or refused with the least that can be reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian

import onnxsqueeze
from onnxsqueeze import budget, cost
from onnxsqueeze.budget import Budget
from onnxsqueeze.errors import DeviceError, PipelineError, SqueezeError
from onnxsqueeze.groups import analyse
from onnxsqueeze.model import Model
from onnxsqueeze.passes.adapt_channels import _without
from onnxsqueeze.passes.channel_choice import Candidate

Array = np.ndarray[Any, Any]


def redundant() -> onnx.ModelProto:
    """Two hidden layers of 64; the second half of the first one's units matters little."""
    second = gaussian(64, 64)
    second[32:] /= 30
    return build(
        "(float[n,96] x) => (float[n,10] y) { h = MatMul(x, a)  r = Relu(h)  g = MatMul(r, b)  s = Relu(g)"
        "  z = MatMul(s, c)  y = Softmax(z) }",
        a=gaussian(96, 64),
        b=second,
        c=gaussian(64, 10),
    )


def samples(count: int = 48) -> list[dict[str, Array]]:
    rng = np.random.default_rng(3)
    mixed = rng.standard_normal((8 * count, 12)) @ rng.standard_normal((12, 96))
    return [{"x": part.astype(np.float32)} for part in np.split(mixed, count)]


def test_half_of_the_work(tmp_path: Path) -> None:
    result = onnxsqueeze.compress(
        redundant(), tmp_path / "o.onnx", calibration=samples(), budget=Budget(target_macs=0.5)
    )
    before = cost.figures(redundant(), shapes={"x": (8, 96)}).macs
    after = cost.figures(tmp_path / "o.onnx", shapes={"x": (8, 96)}).macs
    assert 0.25 * before < after <= 0.5 * before
    account = result.account
    assert account is not None and account.prediction is not None
    told = account.prediction
    assert (told.quantity, told.device, told.means) == ("macs", "generic-cpu", ("channels",))
    assert (told.before, told.after) == (before, after)
    assert (account.fitted, account.steering, account.held_out) == (24, 12, 12)
    assert account.held_out_loss[0].measured < 0.3
    whole = [tuple(t.dims) for t in Model.load(tmp_path / "o.onnx").proto.graph.initializer]
    assert whole, "the output is a model like any other"
    assert result.passes == "fold,adapt{macs=0.5},huffman"


@pytest.mark.parametrize(("device", "means"), [("generic-cpu", {"channels"}), ("eie", {"prune", "channels"})])
@pytest.mark.parametrize("target", ["target_energy", "target_latency"])
def test_the_device_decides_what_helps(device: str, means: set[str], target: str, tmp_path: Path) -> None:
    shapes = {"x": (8, 96)}
    first = cost.figures(redundant(), device, shapes)
    wanted = 0.7 * first.joules if target == "target_energy" else 0.95 * first.seconds  # of so few nodes' overhead
    asked = Budget(**{target: wanted}, device=device)
    result = onnxsqueeze.compress(redundant(), tmp_path / "o.onnx", calibration=samples(16), budget=asked)
    found = cost.figures(tmp_path / "o.onnx", device, shapes)
    reached = found.joules if target == "target_energy" else found.seconds
    assert reached <= wanted
    assert result.account is not None and result.account.prediction is not None
    assert means <= set(result.account.prediction.means)
    assert result.account.prediction.after == pytest.approx(reached, rel=1e-3)
    assert result.account.prediction.device == device


def test_what_cannot_be_met_is_refused_with_the_least(tmp_path: Path) -> None:
    with pytest.raises(SqueezeError, match=r"cannot take as little as 1 kMACs; the least reachable is [\d.]+ kMACs"):
        onnxsqueeze.compress(redundant(), tmp_path / "o.onnx", budget=Budget(target_macs=1000))
    assert not (tmp_path / "o.onnx").exists()


def test_what_is_met_already_stays_as_it_is() -> None:
    result = onnxsqueeze.compress(redundant(), calibration=samples(8), budget=Budget(target_latency=1.0))
    assert result.account is not None and result.account.prediction is not None
    told = result.account.prediction
    assert told.means == () and told.after == told.before


def test_what_storing_adds_to_a_run_is_predicted(tmp_path: Path) -> None:
    """A Softmax of an old opset becomes several nodes, in the file that is written."""
    old, path, feeds = redundant(), tmp_path / "o.onnx", samples(8)
    old.opset_import[0].version, old.ir_version = 11, 6
    result = onnxsqueeze.compress(old, path, calibration=feeds, budget=Budget(target_latency=1.0))
    assert result.account is not None and result.account.prediction is not None
    told, shapes = result.account.prediction, {"x": feeds[0]["x"].shape}
    assert told.after == cost.figures(path, cost.load_device(told.device), shapes).seconds
    assert told.after > told.before


def test_the_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    for jobs in (1, 3):
        asked = Budget(target_macs=0.6)
        onnxsqueeze.compress(redundant(), tmp_path / f"{jobs}.onnx", calibration=samples(16), budget=asked, jobs=jobs)
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "3.onnx").read_bytes()


def test_probing_leaves_the_model_as_it_was() -> None:
    model = Model.load(redundant())
    before = model.proto.SerializeToString(deterministic=True)
    groups = analyse(model)
    group = groups.removable[0]
    candidate = Candidate(group, np.arange(group.width, dtype=np.float64), 1, 1)
    with _without(groups, candidate, np.array([0, 5])):
        assert model.proto.SerializeToString(deterministic=True) != before
    assert model.proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (budget.seconds, "5ms", 5e-3),
        (budget.seconds, "200 us", 2e-4),
        (budget.seconds, "0.01", 0.01),
        (budget.joules, "2mJ", 2e-3),
        (budget.joules, "1.5uJ", 1.5e-6),
        (budget.macs, "50%", 0.5),
        (budget.macs, "100M", 1e8),
        (budget.macs, "2000", 2000.0),
    ],
)
def test_quantities(read: Any, text: str, value: float) -> None:
    assert read(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (budget.seconds, "5mJ"), (budget.seconds, "0ms"), (budget.seconds, "-1s"), (budget.joules, "5ms"),
        (budget.macs, "0.5"), (budget.macs, "120%"), (budget.macs, "many"), (budget.joules, ""),
    ],
)  # fmt: skip
def test_what_is_no_quantity(read: Any, text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        read(text)


def test_targets_and_devices_are_checked() -> None:
    with pytest.raises(PipelineError, match="give one of them"):
        Budget(target_macs=0.5, target_latency=1.0)
    with pytest.raises(PipelineError, match="a device goes with"):
        Budget(max_loss=0.1, device="eie")
    with pytest.raises(PipelineError, match="without spaces"):
        Budget(target_macs=0.5, device="my device.toml")
    with pytest.raises(DeviceError, match=re.escape("unknown device 'phone'")):
        onnxsqueeze.compress(redundant(), budget=Budget(target_latency=1.0, device="phone"))
