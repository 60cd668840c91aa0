"""Scans are read as their format says; slices are parts of heads."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo import scans
from onnxsqueeze.zoo.samples import apart
from onnxsqueeze.zoo.table import SCANS


def nifti(voxels: np.ndarray, kind: int, magic: bytes = b"n+1\0") -> bytes:
    header = bytearray(352)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, kind)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = magic
    return gzip.compress(bytes(header) + voxels.tobytes())


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "scan.nii.gz"
    monkeypatch.setattr(scans, "obtain", lambda item: path)
    scans.slices.cache_clear()
    yield path
    scans.slices.cache_clear()


def test_voxels_are_in_the_order_of_the_format(written: Path) -> None:
    voxels = np.arange(24, dtype="<i2").reshape(2, 3, 4)
    written.write_bytes(nifti(voxels, 4))
    assert np.array_equal(scans._volume(SCANS[0]), voxels)


def test_slices_without_a_head_are_left_out(written: Path) -> None:
    voxels = np.zeros((6, 8, 8), "u1")
    voxels[2:4] = 200
    written.write_bytes(nifti(voxels, 2))
    found = scans.slices(SCANS[0])
    assert [image.size for image in found] == [(8, 8)] * 2 + [(8, 6)] * 16
    assert np.asarray(found[0]).min() == 255


@pytest.mark.parametrize(("kind", "magic"), [(4, b"ni1\0"), (1792, b"n+1\0")])
def test_other_formats_are_refused(written: Path, kind: int, magic: bytes) -> None:
    written.write_bytes(nifti(np.ones((2, 2, 2), "<i2"), kind, magic))
    with pytest.raises(ModelError, match="no scan in a format that is known here"):
        scans.slices(SCANS[0])


@pytest.mark.zoo
def test_other_slices_are_judged_than_are_calibrated_on() -> None:
    seen, unseen = apart("tumor-vgg16", 3)
    assert all(feed["input"].shape == (1, 240, 240, 3) and 0.5 < feed["input"].max() <= 1 for feed in [*seen, *unseen])
    assert not any(np.array_equal(one["input"], other["input"]) for one in seen for other in unseen)
