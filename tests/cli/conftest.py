"""A folder with a real model, a packed file, and small models written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from onnxsqueeze.cli import main

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a real model, and the current one."""
    shutil.copy(LENET, tmp_path / "in.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "small.onnx"
    assert main([str(LENET), str(path), "--passes", "prune,share,huffman", "--quiet"]) == 0
    return path
