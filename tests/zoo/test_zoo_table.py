"""The table's rows are sane, and looking them up by name is friendly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from onnxsqueeze import zoo
from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo.samples import _SAMPLES
from onnxsqueeze.zoo.score import _SCORERS
from onnxsqueeze.zoo.table import ENTRIES, FILES


def test_names_are_unique_and_the_zoo_is_varied() -> None:
    assert len(set(zoo.names())) == len(ENTRIES) >= 20
    assert len({item.package for item in ENTRIES}) >= 10


def test_every_file_has_a_pinned_version_and_a_sha256() -> None:
    for item in (*ENTRIES, *FILES):
        assert re.fullmatch("[0-9a-f]{64}", item.sha256), item
        assert item.version and not item.file.startswith("/") and ".." not in item.file, item
    assert len({item.sha256 for item in (*ENTRIES, *FILES)}) == len(ENTRIES) + len(FILES)


def test_every_model_says_what_it_is() -> None:
    for item in ENTRIES:
        assert item.licence and item.task and item.megabytes > 0, item.name
        assert item.score is None or item.score in _SCORERS, item.name
    assert list(sorted(_SAMPLES)) == sorted(zoo.names())


def test_committed_models_are_there() -> None:
    for name in ("lenet-300-100", "lenet-5"):
        path = zoo.fetch(name)
        assert path.stat().st_size == pytest.approx(zoo.entry(name).megabytes * 1e6, rel=0.01)


def test_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"^unknown zoo model 'lenet5'; did you mean 'lenet-5'\?$"):
        zoo.fetch("lenet5")
    with pytest.raises(ModelError, match=r"^unknown zoo model '§'; choose one of lenet-300-100, lenet-5, "):
        zoo.entry("§")


def test_importing_the_zoo_is_light(tmp_path: Path) -> None:
    heavy = "{'onnx', 'onnxruntime', 'torch', 'PIL', 'numpy'}"
    code = f"import sys, onnxsqueeze.zoo; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
