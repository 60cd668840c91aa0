"""The search for the largest predicted loss whose measured one holds."""

from __future__ import annotations

import pytest

from onnxsqueeze.passes.search import COARSEST, largest


@pytest.mark.parametrize("start", [1e-6, 1e-2, 5.0])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_largest_is_found_closely(start: float, power: float) -> None:
    found = largest(lambda place: (place / 0.03) ** power, 1.0, start, 60, 1.05)
    assert found is not None
    assert 0.03 / 1.06 <= found <= 0.03 * (1 + 1e-9)


def test_steps_are_jumped_over() -> None:
    found = largest(lambda place: 0.0 if place < 0.2 else 9.0, 1.0, 1e-3, 60, 1.05)
    assert found is not None
    assert 0.18 < found < 0.2


def test_measurements_are_counted() -> None:
    places: list[float] = []
    assert largest(lambda place: places.append(place) or place, 1e-3, 1.0, 3, 1.05) is None
    assert len(places) == 3


def test_nothing_holds_or_all_does() -> None:
    assert largest(lambda place: 2.0, 1.0, 0.1, 99, 1.05) is None
    assert largest(lambda place: 0.0, 1.0, 0.1, 99, 1.05) == COARSEST
