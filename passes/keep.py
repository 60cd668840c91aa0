"""What a new version of a model keeps of the old one (``--ota-base``), so that an update of it is small.

A lossy pass may move a tensor by a relative error. With a previous version, a tensor stays on the old codebook (and
scale) where its error is then at most ``ALLOWED`` times that; and of the elements whose nearest entry is another than
before, those keep the old one that the error feels least, until it has grown to that. Other float tensors, such as
biases, stay where they moved by less than ``STILL`` of their root mean square, and move in steps else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Sharing
from onnxsqueeze.encode.indices import Indexed, reconstruct
from onnxsqueeze.encode.order import ordered, unordered
from onnxsqueeze.passes.bounds import channel_squares

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline.previous import Previous

Array = npt.NDArray[Any]

ALLOWED = 1.1
STILL = 2.0**-8  # of the root mean square: far below what sharing does to weights
MINIMUM = 8  # elements of a tensor that moves in steps
STEP_BITS = 6  # of the mantissa: the others stay as they were, an error of at most 2**-7 of an element that moved far


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


def move_in_steps(model: Model, previous: Previous) -> int:
    """Lets float tensors that no pass shares or prunes move in steps from the old ones; how many were changed."""
    changed = 0
    for weight in model.weights(MINIMUM):
        before = None if weight.note else previous.values(weight)
        if before is None:
            continue
        values = weight.values()
        made = _stepped(values, before)
        if made.tobytes() != values.tobytes():
            weight.assign(made)
            changed += 1
    return changed


def _stepped(values: Array, before: Array) -> Array:
    """The values, each at most ``STILL`` of their root mean square off, with the low bits of the old ones."""
    if not (np.isfinite(values).all() and np.isfinite(before).all()):
        return values
    still = STILL * float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    low = np.finfo(values.dtype).nmant - STEP_BITS
    size = 1 << low
    old, new = ordered(before), ordered(values)
    away = (new - old).astype(old.dtype)  # modulo the type's range
    stepped = unordered(old + ((away + size // 2) // size * size).astype(old.dtype))
    made: Array = np.where(np.abs(values.astype(np.float64) - before) <= still, before, stepped)
    near = np.maximum(still, np.abs(values.astype(np.float64)) * 2.0**-STEP_BITS)
    fits = np.isfinite(made) & (np.abs(made.astype(np.float64) - values) <= near)
    return made if fits.all() else values


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
