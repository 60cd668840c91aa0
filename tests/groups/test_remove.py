"""Removing channels equals the same channels set to zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from masking import masked
from random_graphs import PICTURES, SEQUENCES, mixed_model, picture_model, sequence_model
from zoo_models import is_strict

from onnxsqueeze.groups import analyse, remove
from onnxsqueeze.model import Model
from onnxsqueeze.verify.tensors import signature_of

Array = np.ndarray[Any, Any]


def run(model: onnx.ModelProto, feeds: dict[str, Array] | None = None) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(3)
    made = {
        i.name: rng.standard_normal(i.shape).astype(np.float32)
        if i.type == "tensor(float)"
        else rng.integers(0, 20, i.shape)
        for i in session.get_inputs()
    }
    return session.run(None, feeds or made)


def check(model: onnx.ModelProto, seed: int, ratio: float) -> int:
    """Removes random channels of every group, and compares; the number of units removed."""
    rng = np.random.default_rng(seed)
    view = Model.load(model)
    groups = analyse(view)
    kept = {}
    for group in groups.removable:
        gone = round(ratio * group.width) if ratio else int(rng.integers(0, group.width))
        kept[group.id] = np.sort(rng.permutation(group.width)[: max(1, group.width - gone)])
    expected = run(masked(model, kept).proto)
    removed = remove(groups, kept)
    onnx.checker.check_model(view.proto, full_check=is_strict(model))
    assert signature_of(view.proto) == signature_of(model)
    assert analyse(view) is not None
    for ours, theirs in zip(run(view.proto), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * (1 + np.abs(theirs).max()))
    return removed


def drawn(data: st.DataObject) -> Any:
    return lambda n: data.draw(st.integers(0, n - 1))


SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("block", PICTURES, ids=lambda b: b.__name__)
@pytest.mark.parametrize("pick", range(4))
def test_one_block_of_pictures(block: Any, pick: int) -> None:
    rng = np.random.default_rng(pick)
    model = picture_model(lambda n: int(rng.integers(n)), [block])
    assert check(model, pick, 0.5) > 0


@pytest.mark.parametrize("block", SEQUENCES, ids=lambda b: b.__name__)
@pytest.mark.parametrize("pick", range(4))
def test_one_block_of_sequences(block: Any, pick: int) -> None:
    rng = np.random.default_rng(pick)
    model = sequence_model(lambda n: int(rng.integers(n)), [block])
    check(model, pick, 0.5)


@SLOW
@given(st.data(), st.lists(st.sampled_from(PICTURES), max_size=7), st.integers(0, 1000))
def test_random_pictures(data: st.DataObject, blocks: list[Any], seed: int) -> None:
    check(picture_model(drawn(data), blocks), seed, 0)


@SLOW
@given(st.data(), st.lists(st.sampled_from(SEQUENCES), max_size=5), st.integers(0, 1000))
def test_random_sequences(data: st.DataObject, blocks: list[Any], seed: int) -> None:
    check(sequence_model(drawn(data), blocks), seed, 0)


@SLOW
@given(
    st.data(),
    st.lists(st.sampled_from(PICTURES), max_size=3),
    st.lists(st.sampled_from(SEQUENCES), max_size=3),
    st.integers(0, 1000),
)
def test_random_mixtures(data: st.DataObject, pictures: list[Any], sequences: list[Any], seed: int) -> None:
    check(mixed_model(drawn(data), pictures, sequences), seed, 0)
