"""Which decode functions a file carries: each costs kilobytes, and saves a little on each weight that uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_]

IMPOSSIBLE = 1 << 40  # bytes of a weight with a function that cannot hold it


def choose(costs: Bytes, functions: Bytes, starts: Sequence[Chosen]) -> npt.NDArray[np.int64]:
    """The function of each weight, so that weights and functions together take few bytes.

    Uncapacitated facility location by local search: functions are added, dropped and swapped, the best step first,
    until no step helps (Arya et al. 2004 bound what such a search may miss); the best of several starts.

    Args:
        costs: bytes of each weight with each function, ``IMPOSSIBLE`` where it cannot hold it: [weights, functions].
        functions: bytes of each function; 0 for what needs none, such as dense values: [functions].
        starts: sets of functions to begin with: each [functions]. The first must hold every weight.

    Returns:
        Index of the function of each weight: [weights].
    """
    best = min((_improved(costs, functions, start) for start in starts), key=lambda s: _total(costs, functions, s))
    picked: npt.NDArray[np.int64] = np.where(best, costs, IMPOSSIBLE).argmin(axis=1)
    return picked


def _improved(costs: Bytes, functions: Bytes, start: Chosen) -> Chosen:
    chosen, total = start, _total(costs, functions, start)
    while True:
        step = min(_steps(chosen), key=lambda s: _total(costs, functions, s))
        if (found := _total(costs, functions, step)) >= total:
            return chosen
        chosen, total = step, found


def _steps(chosen: Chosen) -> Iterator[Chosen]:
    """Every set that differs by one function, or by one in the place of another."""
    for one in range(len(chosen)):
        for other in range(one, len(chosen)):
            if one == other or chosen[one] != chosen[other]:
                step = chosen.copy()
                step[[one, other]] = ~step[[one, other]]
                yield step


def _total(costs: Bytes, functions: Bytes, chosen: Chosen) -> int:
    least = costs[:, chosen].min(axis=1, initial=IMPOSSIBLE)
    return int(least.sum() + functions[chosen].sum())
