"""Which of many results are worth having: the Pareto front of size and error, and its knee."""

from __future__ import annotations

from collections.abc import Sequence

LOST = 1.0  # relative error at which the outputs are as far from the original's as zeros are


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (size, error) that no other betters in both, by growing size; the first of equal ones."""
    order = sorted(range(len(points)), key=lambda i: (*points[i], i))
    best, kept = float("inf"), []
    for i in order:
        if points[i][1] < best:
            best = points[i][1]
            kept.append(i)
    return kept


def knee(points: Sequence[tuple[float, float]]) -> int:
    """Index of the point of a front that lies farthest below the line between its ends, both axes scaled to 1.

    The criterion of Satopää et al. 2011 ("Finding a Kneedle in a haystack"). Points that have lost the outputs are left
    out where others have not; of one or two points it is the one with the least error.
    """
    usable = [i for i in range(len(points)) if points[i][1] < LOST] or list(range(len(points)))
    sizes, errors = [points[i][0] for i in usable], [points[i][1] for i in usable]
    width, height = max(sizes) - min(sizes), max(errors) - min(errors)
    if not width or not height:
        return min(usable, key=lambda i: (points[i][1], points[i][0]))

    def distance(i: int) -> float:
        return 1 - (points[i][0] - min(sizes)) / width - (points[i][1] - min(errors)) / height

    return max(usable, key=lambda i: (round(distance(i), 12), -points[i][1]))
