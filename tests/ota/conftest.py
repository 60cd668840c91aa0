"""A real model, the next version of it, and both compressed."""

from __future__ import annotations

import onnx
import pytest
from pairs import LENET, Versions, compressed, retrained, saved


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("versions")
    new = saved(retrained(onnx.load(LENET)), folder / "new_dense.onnx")
    old = compressed(LENET, folder / "old.onnx")
    return Versions(
        LENET,
        new,
        old,
        compressed(new, folder / "new.onnx"),
        compressed(new, folder / "kept.onnx", base=old),
    )
