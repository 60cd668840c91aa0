"""Magnetic resonance scans of heads, slice by slice."""

from __future__ import annotations

import gzip
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo.data import pillow
from onnxsqueeze.zoo.download import obtain

if TYPE_CHECKING:
    from PIL.Image import Image

    from onnxsqueeze.zoo.data import Floats
    from onnxsqueeze.zoo.table import Item

_KINDS = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 512: "<u2"}
BRIGHT, LEAST = 0.15, 0.15  # share of the brightest that is no air, and share of a slice that must not be


@cache
def slices(scan: Item) -> tuple[Image, ...]:
    """Slices in three directions, upright, of those with enough of a head; the brightest half percent is clipped."""
    volume = _volume(scan)
    volume = np.clip(volume / np.percentile(volume[volume > 0], 99.5), 0, 1)
    cuts = (cut for axis in range(3) for cut in np.moveaxis(volume, axis, 0) if (cut > BRIGHT).mean() > LEAST)
    return tuple(pillow().Image.fromarray(np.uint8(255 * cut[::-1])).convert("RGB") for cut in cuts)


def _volume(scan: Item) -> Floats:
    """The voxels of a NIfTI-1 file (Cox et al. 2004), the last axis first."""
    raw = gzip.decompress(obtain(scan).read_bytes())
    sizes = np.frombuffer(raw, "<i2", 3, 42)
    kind, start = int(np.frombuffer(raw, "<i2", 1, 70)[0]), int(np.frombuffer(raw, "<f4", 1, 108)[0])
    if raw[344:347] != b"n+1" or kind not in _KINDS:
        raise ModelError(f"zoo file {scan.file!r} is no scan in a format that is known here")
    voxels = np.frombuffer(raw, _KINDS[kind], int(np.prod(sizes.astype(np.int64))), start)
    return voxels.reshape(sizes[::-1]).astype(np.float32)
