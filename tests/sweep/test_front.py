"""The Pareto front against its definition, and the knee of curves whose knee is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsqueeze.sweep import front, knee

Places = st.lists(st.tuples(st.integers(1, 20).map(float), st.integers(0, 20).map(lambda e: e / 10)), max_size=30)


@given(Places)
def test_the_front_is_what_nothing_betters(points: list[tuple[float, float]]) -> None:
    kept = front(points)
    assert [points[i] for i in kept] == sorted({points[i] for i in kept})
    for i, (size, error) in enumerate(points):
        bettered = any(s <= size and e <= error and (s, e) != (size, error) for s, e in points)
        first = points.index((size, error)) == i
        assert (i in kept) == (not bettered and first)


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([(1.0, 0.9)], 0),
        ([(1.0, 0.9), (2.0, 0.1)], 1),  # two points have no knee: the closer one
        ([(1.0, 0.9), (2.0, 0.1), (9.0, 0.05)], 1),
        ([(1.0, 0.9), (5.0, 0.5), (9.0, 0.1)], 2),  # a straight line: the closest
        ([(1.0, 30.0), (2.0, 0.9), (3.0, 0.2), (9.0, 0.1)], 2),  # what has lost the outputs does not count
        ([(1.0, 30.0), (2.0, 9.0)], 1),  # but where all have
        ([(1.0, float("inf")), (2.0, 0.9), (3.0, 0.1), (9.0, 0.05)], 2),
    ],
)
def test_the_knee(points: list[tuple[float, float]], found: int) -> None:
    assert knee(points) == found


@given(st.floats(0.5, 1.0), st.floats(1.5, 3.0))
def test_the_knee_does_not_depend_on_units(scale: float, power: float) -> None:
    points = [(float(x), 0.5 / x**power) for x in range(1, 12)]
    assert knee([(1e6 * x, scale * y) for x, y in points]) == knee(points)
