"""In graphs of all operators, merging equal units changes nothing: what groups say of flows and readers holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import PICTURES, SEQUENCES, mixed_model, picture_model, sequence_model
from test_remove import run

from onnxsqueeze.groups import analyse
from onnxsqueeze.model import Model
from onnxsqueeze.passes.merge import Merge
from onnxsqueeze.passes.merge_features import Units
from onnxsqueeze.pipeline import Context


def check(model: onnx.ModelProto, seed: int) -> int:
    """Makes one unit of every group a copy of another, merges, and compares; the number of units merged."""
    rng = np.random.default_rng(seed)
    view = Model.load(model)
    groups = analyse(view)
    chosen = Units(groups).mergeable()
    for group in chosen:
        one, other = rng.permutation(group.width)[:2]
        for member in group.members:
            if member.role != "consumer":
                matrix = groups.matrix(member)
                matrix[other] = matrix[one]
                groups.assign(member, matrix)
    expected = run(view.proto)
    merged = Merge(error=0.0, minimum=2)(view, Context())
    assert merged >= len(chosen)
    assert sum(group.width for group in Units(analyse(view)).mergeable()) < sum(g.width for g in chosen) or not chosen
    for ours, theirs in zip(run(view.proto), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * (1 + np.abs(theirs).max()))
    return merged


def drawn(data: st.DataObject) -> Any:
    return lambda n: data.draw(st.integers(0, n - 1))


FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("block", PICTURES, ids=lambda b: b.__name__)
def test_one_block_of_pictures(block: Any) -> None:
    rng = np.random.default_rng(0)
    check(picture_model(lambda n: int(rng.integers(n)), [block]), 0)


@pytest.mark.parametrize("block", SEQUENCES, ids=lambda b: b.__name__)
def test_one_block_of_sequences(block: Any) -> None:
    rng = np.random.default_rng(0)
    check(sequence_model(lambda n: int(rng.integers(n)), [block]), 0)


@FEW
@given(
    st.data(),
    st.lists(st.sampled_from(PICTURES), max_size=3),
    st.lists(st.sampled_from(SEQUENCES), max_size=3),
    st.integers(0, 1000),
)
def test_random_mixtures(data: st.DataObject, pictures: list[Any], sequences: list[Any], seed: int) -> None:
    check(mixed_model(drawn(data), pictures, sequences), seed)
