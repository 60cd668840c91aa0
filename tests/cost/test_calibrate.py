"""Calibration: the profile can be read again, and what is fitted to known devices finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxsqueeze import cost
from onnxsqueeze.cli import main
from onnxsqueeze.cost import calibrate, probes
from onnxsqueeze.cost.device import KINDS
from onnxsqueeze.cost.fit import Sample, fitted, predicted, with_constants
from onnxsqueeze.cost.kernels import decode_rates, sparse_rates
from onnxsqueeze.cost.measure import session
from onnxsqueeze.runtime import provider

FEW = [p for p in probes.PROBES if p.what in ("512x64x64", "64-240, 1x1", "24-24, 9x9", "96x128", "Add 16k")]


def test_every_probe_runs_and_is_of_its_kind() -> None:
    for probe in probes.PROBES:
        model = probe.build(probe.counts[0])
        session(model.SerializeToString(), 1).run(None, dict(probes.inputs(model)))
        work = cost.analyse(model)
        kinds = {n.kind for n in work.nodes if n.status == "runs"}
        assert probe.kind in kinds or (probe.kind == "layout" and any(n.layout_nbytes for n in work.nodes)), probe
    assert {p.kind for p in probes.PROBES} == set(KINDS)


@pytest.mark.parametrize("kind", ["gemm", "conv", "softmax", "transpose"])
def test_a_fit_finds_the_device_that_the_times_are_of(kind: str) -> None:
    blank = calibrate._blank("test")
    true = with_constants(blank, {f"efficiency.{kind}": 0.3, f"overhead.{kind}": 2e-6}, "test")
    samples = []
    for probe in (p for p in probes.PROBES if p.kind == kind):
        small, large = (cost.analyse(probe.build(count)) for count in probe.counts)
        samples.append(Sample(kind, probe.what, predicted(large, true) - predicted(small, true), small, large))
    found = fitted(blank, kind, samples, "test")
    for sample in samples:
        made = predicted(sample.large, found) - predicted(sample.small, found)
        assert made == pytest.approx(sample.seconds, rel=0.1)


def test_rates_of_decoders_and_sparse_kernels() -> None:
    rates = decode_rates()
    assert {key.removeprefix("decode.") for key in rates} == set(cost.device.DECODERS)
    assert all(1e6 < rate < 1e13 for rate in rates.values())
    found = sparse_rates(1e11, 0.0, 1)
    names = {"sparse.csr", "sparse.csr_matrix", "sparse.csr_conv", "sparse.csr_gather"}
    assert set(found) == (names if provider.is_available() else set())
    assert all(0 < share < 10 for share in found.values())


def test_the_command_writes_a_profile_that_reports_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probes, "PROBES", tuple(FEW))
    monkeypatch.setattr(calibrate, "BUDGET", 0.2)
    monkeypatch.setattr(calibrate, "SETS", (1 << 19, 1 << 21, 1 << 22))
    path = tmp_path / "here.toml"
    assert main(["calibrate", str(path)]) == 0
    out = capsys.readouterr().out
    assert "512x64x64" in out and "--device" in out
    device = cost.load_device(path)
    assert device["compute.float32"] > 1e8 and all(c.source for c in device.constants.values())
    lenet = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"
    seconds = cost.figures(lenet, path).seconds
    assert 1e-6 < seconds < 1
    assert [file.name for file in tmp_path.iterdir()] == ["here.toml"]


def test_outputs_that_cannot_be_written_are_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(tmp_path / "here.json")]) == 1
    assert "must end in .toml" in capsys.readouterr().err
    assert main(["calibrate", str(tmp_path / "none" / "here.toml")]) == 1
    assert "does not exist" in capsys.readouterr().err
