"""Results of earlier runs: found again by what they depend on, and never trusted when they have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.store import ABANDONED, DRAFT, Store, digest_of_arrays, digest_of_feeds


def recalled(store: Store, key: dict[str, Any], value: Any) -> Any:
    return store.recall("thing", key, lambda: value, list, tuple)


def test_results_come_back_by_their_key(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    assert recalled(Store(folder), {"a": 1}, (0.1, float("inf"))) == (0.1, float("inf"))
    store = Store(folder)
    assert recalled(store, {"a": 1}, None) == (0.1, float("inf"))
    assert recalled(store, {"a": 2}, (2,)) == (2,)
    assert (store.taken, store.made, store.damaged) == (1, 1, 0)


def test_what_this_run_has_made_is_not_taken_from_earlier_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        assert recalled(store, {"a": 1}, (1,)) == (1,)
        store.recall_arrays("arrays", {}, lambda: {"x": np.zeros(1)})
    assert (store.taken, store.made) == (0, 2)
    assert "held nothing for this run: 2 results are in it now" in store.told


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 2), np.float32), "n": np.array(3)}
    Store(tmp_path).recall_arrays("arrays", {}, lambda: arrays)
    found = Store(tmp_path).recall_arrays("arrays", {}, dict)
    assert digest_of_arrays(found) == digest_of_arrays(arrays) and found["empty"].shape == (0, 2)


def test_without_a_folder_nothing_is_kept() -> None:
    store = Store()
    assert not store and [recalled(store, {}, (i,)) for i in range(2)] == [(0,), (1,)]
    assert store.recall_arrays("arrays", {}, lambda: {"x": 1}) == {"x": 1}


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: d[:-9], lambda d: b"x" * len(d), lambda d: d[::-1]])
def test_damage_is_noticed(tmp_path: Path, damage: Any) -> None:
    first = Store(tmp_path)
    recalled(first, {}, (1, 2))
    first.recall_arrays("arrays", {}, lambda: {"x": np.arange(100)})
    for path in [*tmp_path.glob("thing-*"), *tmp_path.glob("arrays-*")]:
        path.write_bytes(damage(path.read_bytes()))
    store = Store(tmp_path)
    assert recalled(store, {}, (3,)) == (3,)
    assert store.recall_arrays("arrays", {}, lambda: {"x": np.zeros(1)})["x"].shape == (1,)
    assert (store.taken, store.made, store.damaged) == (0, 2, 2) and "damaged" in store.told
    assert recalled(Store(tmp_path), {}, None) == (3,)


def test_every_bit_of_arrays_counts(tmp_path: Path) -> None:
    Store(tmp_path).recall_arrays("arrays", {}, lambda: {"x": np.arange(8, dtype=np.uint8)})
    (path,) = tmp_path.glob("arrays-*")
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(data), 60):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << rng.integers(8)]) + data[place + 1 :])
        found = Store(tmp_path).recall_arrays("arrays", {}, lambda: {"x": np.arange(8, dtype=np.uint8)})
        assert found["x"].tolist() == list(range(8))


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other files"):
        Store(tmp_path)
    with pytest.raises(ModelError, match="create it first"):
        Store(tmp_path / "no" / "work")
    with pytest.raises(ModelError, match="cannot be used as a work folder"):
        Store(tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_drafts_of_broken_runs_go(tmp_path: Path) -> None:
    Store(tmp_path)
    old, new = tmp_path / f"old{DRAFT}", tmp_path / f"new{DRAFT}"
    old.touch()
    new.touch()
    os.utime(old, (0, time.time() - ABANDONED - 60))
    Store(tmp_path)
    assert not old.exists() and new.exists(), "somebody may be writing the new one"


def test_samples_have_fingerprints() -> None:
    feeds = [{"x": np.zeros(2), "s": np.array(["a", "b"], object)}]
    assert digest_of_feeds(feeds) == digest_of_feeds([{"s": np.array(["a", "b"], object), "x": np.zeros(2)}])
    others = [{"x": np.zeros(2)}, {"x": np.zeros((2, 1))}, {"x": np.zeros(2, np.float32)}, {"y": np.zeros(2)}]
    assert len({digest_of_feeds([feed]) for feed in others}) == len(others)
