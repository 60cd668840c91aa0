"""No test depends on what was measured on the machine before."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not request.node.get_closest_marker("zoo"):  # fetched models stay where they are
        monkeypatch.setenv("ONNXSQUEEZE_CACHE", str(tmp_path / "cache"))
