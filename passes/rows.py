"""Tables whose rows are picked by number, such as embeddings: rows that are picked often get finer grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.encode import Scale
from onnxsqueeze.model.graphs import edges
from onnxsqueeze.model.weights import find
from onnxsqueeze.passes.quantizer import Quantizer

if TYPE_CHECKING:
    from onnxsqueeze.calibration.matrices import Reading
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]

LEAST = 0.02  # of the share that all rows would have, were they picked alike: no row counts less
OCTAVES = 1  # that rows of little weight may be coarser: other texts have other words


def row_weights(frequencies: Array, picks: int) -> Array:
    """How often each row is likely to be picked on other samples: float64 [rows], of sum 1.

    ``frequencies``: picks over all ``picks``. Rows never picked share what rows picked once have (Good 1953); no row
    counts for nothing.
    """
    counts = np.rint(frequencies.astype(np.float64) * picks)
    never = counts == 0
    unseen = min(0.5, float((counts == 1).sum()) / max(1, picks)) if never.any() else 0.0
    weights = (1 - unseen) * counts / max(1.0, float(counts.sum()))
    weights[never] = unseen / max(1, int(never.sum()))
    weights = np.maximum(weights, LEAST / len(weights))
    found: Array = weights / weights.sum()
    return found


def only_picked(model: Model, readings: Mapping[str, Sequence[Reading]]) -> set[str]:
    """The tables, of float rows as they are stored, that nothing but picking uses."""
    wiring = edges(model.proto)
    found = find(model.proto, wiring)
    return {
        name
        for name, listed in readings.items()
        if listed[0].kind == "rows"
        and not any(reading.moves for reading in listed)
        and len(wiring.users.get((found[name].scope.index, found[name].local), ())) == len(listed)
        and (found[name].scope.index, found[name].local) not in wiring.results
    }


class RowQuantizer(Quantizer):
    """A table, ready to be put on grids: steps of rows are as their weights have it, to powers of two.

    At the least error for the bits, steps go with the inverse square root of the weights (reverse water-filling).
    """

    def __init__(self, values: Array, channel_axis: int | None, weights: Array) -> None:
        """``weights``: [rows], of sum 1."""
        self._weights = weights
        super().__init__(values, channel_axis)
        by_rows = self._by_rows()
        if by_rows is not None:
            self.scales = (None, by_rows)

    def error_of(self, values: Array) -> float:
        """E ‖Δ row‖² of a change to these values."""
        change = np.square(values.astype(np.float32, copy=False) - self.values.astype(np.float32, copy=False))
        return float(self._weights @ change.reshape(len(change), -1).sum(axis=1, dtype=np.float64))

    def _by_rows(self) -> Scale | None:
        """A scale by rows; None where all rows weigh about the same."""
        order = np.argsort(self._weights, kind="stable")
        typical = self._weights[order][np.searchsorted(np.cumsum(self._weights[order]), 0.5)]  # of half of all picks
        octaves = np.clip(np.rint(np.log2(typical / self._weights) / 2), 0, OCTAVES)
        table, codes = np.unique(np.exp2(octaves).astype(np.float32), return_inverse=True)
        return Scale(0, table, codes.astype(np.uint8)) if len(table) > 1 else None
