"""Files that jump in size, as layouts bring their decode functions along, are still met from below."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from small_graphs import gaussian

from onnxsqueeze.passes import rate_distortion
from onnxsqueeze.passes.quantizer import Quantizer
from onnxsqueeze.passes.rate_distortion import Choice, Table, predicted
from onnxsqueeze.passes.sizing import FILLS, FINDS, Sizing


def tables() -> list[Table]:
    made = []
    for number, side in enumerate((64, 96, 128)):
        table = rate_distortion.measure(f"w{number}", Quantizer(gaussian(side, 96, seed=number), None))
        assert table is not None
        made.append(table.with_gains([1.0] * len(table.curves)))
    return made


def jumping(found: Sequence[Table], choices: Sequence[Choice | None]) -> int:
    """Finer grids take a function that coarse ones do without; all is larger than predicted."""
    functions = sum(2500 for c in choices if c is not None and c.fineness < 1.2)
    return int(1.1 * predicted(found, choices)[0]) + 4000 + functions


@pytest.mark.parametrize("limit", range(8000, 30000, 1500))
def test_sizes_are_met_within_one_per_cent_over_jumps(limit: int) -> None:
    found, tried = tables(), []

    def size(choices: Sequence[Choice | None]) -> int:
        tried.append(jumping(found, choices))
        return tried[-1]

    sizing = Sizing(found, limit, size)
    sizing.run()
    assert len(tried) <= FINDS + FILLS
    assert sizing.best is not None and sizing.best[0] == jumping(found, sizing.best[1])
    assert 0.99 * limit <= sizing.best[0] <= limit


def test_a_size_out_of_reach_leaves_the_smallest_one_known() -> None:
    found = tables()
    sizing = Sizing(found, 4000, lambda choices: jumping(found, choices))
    sizing.run()
    assert sizing.best is None
    assert sizing.smallest is not None and 4000 < sizing.smallest < 8000
