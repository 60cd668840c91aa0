"""Groups of weights that are pruned together (Mao et al. 2017; N:M: Mishra et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NAMED = ("element", "row", "column", "kernel", "vector", "filter")
_BLOCK = re.compile(r"block\((\d+)x(\d+)\)")
_N_OF_M = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True)
class Granularity:
    """A named granularity, a block of b rows by c columns, or N kept of each M along the reduction axis."""

    name: str
    block: tuple[int, int] | None = None
    pattern: tuple[int, int] | None = None


def parse(text: str) -> Granularity:
    """Reads ``element``, ``kernel``, ``block(4x4)``, ``2:4`` …; raises ValueError with a sentence for the user."""
    if text in NAMED:
        return Granularity(text)
    if match := _BLOCK.fullmatch(text):
        block = int(match[1]), int(match[2])
        if min(block) < 1:
            raise ValueError(f"the sides of {text} must be at least 1")
        return Granularity("block", block=block)
    if match := _N_OF_M.fullmatch(text):
        kept, group = int(match[1]), int(match[2])
        if not 1 <= kept < group <= 256:
            raise ValueError(f"granularity {text} must keep at least 1 and fewer than all of at most 256")
        return Granularity("N:M", pattern=(kept, group))
    raise ValueError(f"granularity must be one of {', '.join(NAMED)}, block(BxC) or N:M, not {text}")


@dataclass(frozen=True, eq=False)
class Groups:
    """A weight seen as rows of equal length, one row a group, and the way back."""

    rows: Array  # [groups, elements]; padded with zeros where blocks stick out
    restore: Callable[[Array], Array]  # from an array shaped like rows to one shaped like the weight
    sizes: Array | None = None  # elements of each group, padding not counted; None where nothing is padded


def canonical(values: Array, out_axis: int, in_axis: int | None) -> tuple[Array, Callable[[Array], Array]]:
    """The weight as [out, in, spatial …], and the way back; ``in_axis`` None gives [out, rest]."""
    out_axis %= values.ndim
    if in_axis is None or values.ndim < 2:
        moved = np.moveaxis(values, out_axis, 0)
        return moved.reshape(len(moved), -1), lambda a: np.moveaxis(a.reshape(moved.shape), 0, out_axis)
    in_axis %= values.ndim
    rest = [i for i in range(values.ndim) if i not in (out_axis, in_axis)]
    order = [out_axis, in_axis, *rest]
    back = np.argsort(order)
    return values.transpose(order), lambda a: a.transpose(back)


def groups(weight: Array, granularity: Granularity) -> Groups:
    """Groups of a weight in canonical form [out, in, spatial …]."""
    if granularity.block is not None:
        return _blocks(weight, *granularity.block)
    if granularity.name == "column":
        moved = np.moveaxis(weight, 1, 0)
        return Groups(moved.reshape(len(moved), -1), lambda a: np.moveaxis(a.reshape(moved.shape), 0, 1))
    kept_axes = {"element": weight.ndim, "row": 1, "filter": 1, "kernel": 2, "vector": max(2, weight.ndim - 1)}
    leading = int(np.prod(weight.shape[: kept_axes[granularity.name]]))
    return Groups(weight.reshape(leading, -1), lambda a: a.reshape(weight.shape))


def _blocks(weight: Array, height: int, width: int) -> Groups:
    """Blocks of the matrix [out, in * spatial]; the last ones are padded."""
    matrix = weight.reshape(len(weight), -1)
    rows, columns = (-(-n // b) for n, b in zip(matrix.shape, (height, width), strict=True))
    padded = np.zeros((rows * height, columns * width), weight.dtype)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    tiles = padded.reshape(rows, height, columns, width).transpose(0, 2, 1, 3)

    def restore(array: Array) -> Array:
        whole = array.reshape(tiles.shape).transpose(0, 2, 1, 3).reshape(padded.shape)
        return whole[: matrix.shape[0], : matrix.shape[1]].reshape(weight.shape)

    heights, widths = (
        np.minimum(b, n - b * np.arange(count))
        for n, b, count in zip(matrix.shape, (height, width), (rows, columns), strict=True)
    )
    return Groups(tiles.reshape(-1, height * width), restore, np.outer(heights, widths).reshape(-1))


def all_but_smallest(saliency: Array, count: int) -> Array:
    """Mask that drops exactly ``count`` groups, the least salient, ties by position."""
    keep = np.ones(len(saliency), bool)
    if count <= 0:
        return keep
    threshold = np.partition(saliency, count - 1)[count - 1]
    below = saliency < threshold
    keep[below] = False
    ties = np.flatnonzero(saliency == threshold)
    keep[ties[: count - int(below.sum())]] = False
    return keep


def keep_n_of_m(values: Array, axis: int, kept: int, group: int) -> Array:
    """Mask (True = keep) of the ``kept`` largest magnitudes in each group along ``axis``, which ``group`` divides."""
    moved = np.abs(np.moveaxis(values, axis, -1))
    rows = moved.reshape(-1, group)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :kept]
    mask = np.zeros(rows.shape, bool)
    np.put_along_axis(mask, order, True, axis=1)
    return np.moveaxis(mask.reshape(moved.shape), -1, axis)
