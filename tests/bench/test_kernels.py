"""What calibration makes of its measurements; and that it measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxsqueeze.bench.kernels import MARGIN, NEVER, SPARSE, skipping_speedup, speedup, threshold
from onnxsqueeze.runtime import profile


def test_thresholds() -> None:
    assert threshold([(0.5, 1.2), (0.9, 3.0)]) == 0.5
    assert threshold([(0.5, 0.5), (0.9, 1.1)]) == NEVER
    assert threshold([(0.5, MARGIN - 0.1), (0.7, MARGIN + 0.1)]) == pytest.approx(0.6)
    assert threshold([(0.5, 1.3), (0.7, 1.0), (0.9, 2.0)]) > 0.7  # what is slower in between counts


def test_every_number_of_a_profile_is_measured() -> None:
    assert tuple(case.name for case in SPARSE) == profile.SPARSE


def test_a_layer_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXSQUEEZE_CACHE", str(tmp_path))
    assert 0.1 < speedup(SPARSE[1], zeros=0.95) < 100
    assert 0.01 < skipping_speedup(SPARSE[0], zeros=0.95) < 100
