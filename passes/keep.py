"""What a new version of a model keeps of the old one (``--ota-base``), so that an update of it is small.

A lossy pass may move a tensor by a relative error. With a previous version, a tensor stays on the old codebook (and
scale) where its error is then at most ``ALLOWED`` times that; and of the elements whose nearest entry is another than
before, those keep the old one that the error feels least, until it has grown to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Sharing
from onnxsqueeze.encode.indices import Indexed, reconstruct
from onnxsqueeze.passes.bounds import channel_squares

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnxsqueeze.model import Weight
    from onnxsqueeze.pipeline.previous import Previous

Array = npt.NDArray[Any]

ALLOWED = 1.1


def on_old_codebook(
    weight: Weight,
    values: Array,
    previous: Previous,
    bound: float,
    entries: int,
    nearest: Callable[[Array, Sharing], Array],
) -> tuple[Array, Sharing] | None:
    """Values on the old codebook within ``ALLOWED * bound``, as few of them changed as that takes; or None.

    Args:
        weight: whose older self is looked up in ``previous``.
        values: the new values.
        previous: the previous version.
        bound: relative error that the pass would allow.
        entries: how many the codebook may have.
        nearest: the values with each replaced by the nearest entry of a sharing.
    """
    old = previous.indexed(weight)
    if old is None or len(old.codebook) > entries:
        return None
    sharing = Sharing(old.codebook, old.scale)
    shared, before = nearest(values, sharing), _values(old, values)
    least = _costs(values, shared, weight.channel_axis)
    budget = (ALLOWED * bound) ** 2 * values.size - float(least.sum(dtype=np.float64))
    if budget < 0:
        return None
    moved = np.flatnonzero((shared != before) & (values != 0))  # zeros are the pruner's
    extra = (_costs(values, before, weight.channel_axis).reshape(-1)[moved] - least.reshape(-1)[moved]).clip(0)
    order = np.argsort(extra, kind="stable")
    kept = moved[order[: np.searchsorted(np.cumsum(extra[order], dtype=np.float64), budget, side="right")]]
    shared.reshape(-1)[kept] = before.reshape(-1)[kept]
    return shared, sharing


def _values(old: Indexed, like: Array) -> Array:
    """The old weight, from its indices."""
    indices = old.indices.reshape(like.shape)
    return reconstruct(old.codebook, indices, old.scale, slice(0, like.shape[0]), like.dtype)


def _costs(values: Array, changed: Array, axis: int | None) -> Array:
    """Each element's share of the squared relative error, times the number of elements (float32)."""
    squares = channel_squares(values, axis)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = len(squares)
    difference = np.subtract(changed, values, dtype=np.float32)
    costs: Array = np.square(difference) / squares.reshape(shape).astype(np.float32)
    return costs
