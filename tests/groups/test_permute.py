"""Channels in another order: the same function."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import PICTURES, SEQUENCES, mixed_model, picture_model, sequence_model
from test_remove import drawn, run

from onnxsqueeze.errors import ModelError
from onnxsqueeze.groups import analyse, permutable, permute
from onnxsqueeze.model import Model

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def check(model: onnx.ModelProto, seed: int) -> int:
    """Puts all channels in random orders, and compares; the number of groups."""
    rng = np.random.default_rng(seed)
    view = Model.load(model)
    groups = analyse(view)
    changed = permute(groups, {group.id: rng.permutation(group.width) for group in permutable(groups)})
    view.check()
    for ours, theirs in zip(run(view.proto), run(model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * (1 + np.abs(theirs).max()))
    return changed


@pytest.mark.parametrize("block", PICTURES, ids=lambda b: b.__name__)
def test_one_block_of_pictures(block: Any) -> None:
    rng = np.random.default_rng(1)
    assert check(picture_model(lambda n: int(rng.integers(n)), [block]), 1) > 0


@pytest.mark.parametrize("block", SEQUENCES, ids=lambda b: b.__name__)
def test_one_block_of_sequences(block: Any) -> None:
    rng = np.random.default_rng(2)
    check(sequence_model(lambda n: int(rng.integers(n)), [block]), 2)


@SLOW
@given(
    st.data(),
    st.lists(st.sampled_from(PICTURES), max_size=5),
    st.lists(st.sampled_from(SEQUENCES), max_size=3),
    st.integers(0, 1000),
)
def test_random_graphs(data: st.DataObject, pictures: list[Any], sequences: list[Any], seed: int) -> None:
    check(mixed_model(drawn(data), pictures, sequences), seed)


def test_orders_that_are_none_are_refused() -> None:
    groups = analyse(Model.load(picture_model(lambda n: 0, [])))
    free, fixed = permutable(groups)[0], next(group for group in groups if group.blocked is not None)
    for number, order in ((free.id, np.zeros(free.width, np.int64)), (fixed.id, np.arange(fixed.width)[::-1])):
        with pytest.raises(ModelError, match=f"^the channels of group {number} cannot be put in this order$"):
            permute(groups, {number: order})
