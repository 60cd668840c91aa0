"""Weights that become levels of a grid: squared error against coded bits, input after input (codec.h)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxsqueeze.runtime import native

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


class _Rounding(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("groups", "inputs", "outputs", "first", "last")),
        ("scales", ctypes.c_void_p),
        ("prices", ctypes.c_void_p),
        ("price_width", ctypes.c_size_t),
        ("levels", ctypes.c_void_p),
        ("bits", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("zero", ctypes.c_size_t),
        ("nearest", ctypes.c_void_p),
        ("span", ctypes.c_size_t),
        ("step", ctypes.c_float),
    )


@dataclass(frozen=True, eq=False)
class Grid:
    """Levels at multiples of a step, zero among them; some multiples may be left out."""

    levels: Array  # float32 [levels], rising
    step: float
    places: Array  # float32 [levels]: the multiples
    zero: int  # the level that is 0
    nearest: Array  # int32 [multiples from the lowest to the highest level]: the level next to each

    @staticmethod
    def of(levels: Array, step: float) -> Grid:
        """``levels``: float32, rising; raises ValueError where zero is not among them."""
        places = np.rint(levels.astype(np.float64) / step)
        zero = int(np.searchsorted(places, 0))
        if zero == len(places) or places[zero] != 0:
            raise ValueError("zero is no level")
        middles = (places[1:] + places[:-1]) / 2
        nearest = np.searchsorted(middles, np.arange(places[0], places[-1] + 1)).astype(np.int32)
        return Grid(levels, step, places.astype(np.float32), zero, nearest)


@dataclass(frozen=True, eq=False)
class Problem:
    """What weights [groups, inputs, outputs] are rounded to, all float32 and contiguous."""

    grid: Grid
    bits: Array  # [levels]
    prices: Array  # [groups, inputs, outputs or 1], of a bit in squared steps
    scales: Array | None  # [groups, inputs, outputs]: what levels are multiplied with; None for 1

    def carry(self, weights: Array, upper: Array | None, errors: Array | None, found: Array, part: slice) -> None:
        """The levels of some inputs; with ``upper`` [groups, inputs, inputs] errors are carried within them.

        Changes ``weights``, ``errors`` and ``found`` (uint8), all [groups, inputs, outputs].
        """
        floats = [weights, *(a for a in (upper, errors) if a is not None)]
        rounding, places = self._rounding(weights.shape, part, floats, found), [_place(weights), _place(upper)]
        native.call("osq_carry", ctypes.byref(rounding), *places, _place(errors), _place(found))

    def descend(self, now: Array, moments: Array, gradients: Array, moved: Array, found: Array, part: slice) -> None:
        """The best levels of some inputs, one after another; ``gradients`` stay right for them only.

        Changes all but ``moments`` [groups, inputs, inputs].
        """
        rounding = self._rounding(now.shape, part, [now, moments, gradients, moved], found)
        places = (_place(a) for a in (now, moments, gradients, moved, found))
        native.call("osq_descend", ctypes.byref(rounding), *places)

    def _rounding(self, shape: tuple[int, ...], part: slice, floats: list[Array], found: Array) -> _Rounding:
        groups, inputs, outputs = shape
        width = self.prices.shape[2]
        wanted = {(groups, inputs, outputs), (groups, inputs, inputs)}
        own = [self.grid.levels, self.bits, self.prices, *([] if self.scales is None else [self.scales])]
        if any(a.dtype != "float32" or not a.flags.c_contiguous for a in (*floats, *own)) or found.dtype != "uint8":
            raise TypeError("expected contiguous arrays of float32, and of uint8 for what is found")
        fitting = all(a.shape in wanted for a in floats) and found.shape == shape and found.flags.c_contiguous
        if not fitting or self.prices.shape[:2] != shape[:2] or len(self.bits) != len(self.grid.levels):
            raise ValueError("the arrays do not fit one another")
        if self.scales is not None and self.scales.shape != shape:
            raise ValueError("the scales do not fit the weights")
        grid = self.grid
        return _Rounding(
            *(groups, inputs, outputs, part.start, part.stop),
            *(_place(self.scales), _place(self.prices), width),
            *(_place(grid.levels), _place(self.bits), _place(grid.places), len(grid.levels), grid.zero),
            *(_place(grid.nearest), len(grid.nearest), grid.step),
        )


def _place(array: Array | None) -> int | None:
    return None if array is None else array.ctypes.data
