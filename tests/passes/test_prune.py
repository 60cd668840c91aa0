"""Pruning: which weights become zero, how many, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import MODELS, build, conv, gaussian

from onnxsqueeze.errors import PipelineError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.passes.bounds import relative_error
from onnxsqueeze.passes.prune import Prune
from onnxsqueeze.pipeline import Context, parse

Array = np.ndarray[Any, Any]


def dense(weight: Array, kind: str = "float") -> onnx.ModelProto:
    return build(f"({kind}[1,{len(weight)}] x) => ({kind}[a,b] y) {{ y = MatMul(x, w) }}", w=weight)


def kernels(weight: Array, groups: int = 1) -> onnx.ModelProto:
    text = f"(float[1,{weight.shape[1] * groups},8,8] x) => (float[a,b,c,d] y) {{ y = Conv <group={groups}> (x, w) }}"
    return build(text, w=weight)


def prune(model: onnx.ModelProto, **options: Any) -> dict[str, Array]:
    """All weights afterwards; what was not pruned is checked to be as before."""
    changed = Model.load(model)
    before = {w.name: w.values() for w in changed.weights()}
    changes = Prune(**options)(changed, Context())
    after = {w.name: w.values() for w in changed.weights()}
    assert changes == sum(before[name].tobytes() != after[name].tobytes() for name in after)
    for name, values in after.items():
        assert (values[values != 0] == before[name][values != 0]).all()
    return after


def zeros(values: Array) -> float:
    return float(np.mean(values == 0))


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 1.0])
def test_elements_the_smallest_go_and_exactly_so_many(sparsity: float) -> None:
    weight = gaussian(64, 48)
    values = prune(dense(weight), sparsity=sparsity)["w"]
    count = int(sparsity * weight.size)
    assert np.count_nonzero(values == 0) == count
    assert np.abs(weight)[values == 0].max() <= np.abs(weight)[values != 0].min(initial=np.inf)


# Of a convolution's weight [out, in, 3, 3]: the axes over which a group goes.
GROUPS = {"row": (1, 2, 3), "filter": (1, 2, 3), "column": (0, 2, 3), "kernel": (2, 3), "vector": (3,)}


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_groups_go_together(name: str, norm: float) -> None:
    weight = gaussian(24, 16, 3, 3)
    values = prune(kernels(weight), sparsity=0.5, granularity=name, norm=norm)["w"]
    gone, size = (values == 0).all(axis=GROUPS[name]), (np.abs(weight) ** norm).mean(axis=GROUPS[name])
    assert zeros(values) == pytest.approx(0.5, abs=0.05)
    assert zeros(values) == pytest.approx(gone.mean(), abs=1e-6), "groups go as a whole"
    assert size[gone].max() <= size[~gone].min()


def test_rows_of_a_matmul_are_output_neurons() -> None:
    values = prune(dense(gaussian(64, 48)), sparsity=0.5, granularity="row")["w"]
    assert (values == 0).all(axis=0).sum() == 24
    values = prune(dense(gaussian(64, 48)), sparsity=0.5, granularity="column")["w"]
    assert (values == 0).all(axis=1).sum() == 32


@pytest.mark.parametrize("shape", [(64, 48), (61, 47)])
def test_blocks_are_of_outputs_by_inputs(shape: tuple[int, int]) -> None:
    weight = gaussian(*shape)
    values = prune(dense(weight), sparsity=0.5, granularity="block(4x8)")["w"].T
    tiles = [values[i : i + 4, j : j + 8] for i in range(0, shape[1], 4) for j in range(0, shape[0], 8)]
    gone = [not tile.any() for tile in tiles]
    assert zeros(values) == pytest.approx(0.5, abs=32 / weight.size)
    assert all(tile.all() for tile, is_gone in zip(tiles, gone, strict=True) if not is_gone)


@pytest.mark.parametrize("block", ["block(4x4)", "block(7x64)", "block(64x2)"])
def test_blocks_that_stick_out_are_no_less_salient(block: str) -> None:
    """Sparsity is the share of zeros, and edges of a weight are pruned no more than the rest."""
    weight = np.sign(gaussian(65, 61)) + 0.1 * gaussian(65, 61)
    values = prune(dense(weight), sparsity=0.5, granularity=block)["w"]
    assert zeros(values) == pytest.approx(0.5, abs=0.06)
    if block == "block(4x4)":
        assert zeros(values[-1]) < 0.8 and zeros(values[:, -1]) < 0.8


@pytest.mark.parametrize(("kept", "group"), [(2, 4), (1, 4), (4, 8)])
def test_n_of_m_runs_along_the_reduction_axis(kept: int, group: int) -> None:
    text = f"{kept}:{group}"
    weight = gaussian(64, 48)
    values = prune(dense(weight), granularity=text)["w"]
    groups, sizes = values.reshape(-1, group, 48), np.abs(weight).reshape(-1, group, 48)
    assert (np.count_nonzero(groups, axis=1) == kept).all()
    assert (np.where(groups == 0, sizes, 0).max(axis=1) <= np.where(groups == 0, np.inf, sizes).min(axis=1)).all()
    values = prune(kernels(gaussian(24, 16, 3, 3)), granularity=text)["w"]
    assert (np.count_nonzero(values.reshape(24, -1, group, 3, 3), axis=2) == kept).all()


def test_n_of_m_needs_whole_groups_and_says_so() -> None:
    notes: list[str] = []
    model = Model.load(dense(gaussian(62, 48)))
    assert Prune(granularity="2:4")(model, Context(notes=notes.append)) == 0
    assert zeros(model.weights()[0].values()) == 0
    assert any("1 weights, such as 'w', are not 2:4" in note for note in notes)


def chain(*widths: int) -> onnx.ModelProto:
    """Layers between widths, each scaled by ten times the one before."""
    names = [f"w{i}" for i in range(len(widths) - 1)]
    values = ["x", *(f"h{i}" for i in range(len(names) - 1)), "y"]
    nodes = " ".join(f"{b} = MatMul({a}, {w})" for a, b, w in zip(values, values[1:], names, strict=False))
    text = f"(float[1,{widths[0]}] x) => (float[a,b] y) {{ {nodes} }}"
    tensors = {n: gaussian(*widths[i : i + 2]) * np.float32(10**i) for i, n in enumerate(names)}
    return build(text, **tensors)


def test_the_first_and_last_layer_get_half() -> None:
    shares = [zeros(w) for w in prune(chain(64, 64, 64, 64), sparsity=0.8).values()]
    assert shares == pytest.approx([0.4, 0.8, 0.4], abs=1e-3)
    assert [zeros(w) for w in prune(chain(64, 64, 64, 64), granularity="2:4").values()] == [0, 0.5, 0]
    assert [zeros(w) for w in prune(chain(64, 64, 64), sparsity=0.8).values()] == pytest.approx([0.8] * 2, abs=1e-3)


def test_one_threshold_for_all_takes_scale_into_account() -> None:
    shares = [zeros(w) for w in prune(chain(64, 64, 64, 64, 64), sparsity=0.6, scope="global").values()]
    assert shares == pytest.approx([0.3, 0.6, 0.6, 0.3], abs=0.03)


def test_one_threshold_counts_elements_not_blocks() -> None:
    """Where most blocks stick out of the weight, the share of zeros is still that asked for."""
    values = prune(chain(65, 65, 65), sparsity=0.5, scope="global", granularity="block(1x64)").values()
    assert np.mean([zeros(w) for w in values]) == pytest.approx(0.5, abs=0.02)


def test_one_threshold_takes_more_where_more_is_small() -> None:
    model = chain(64, 64, 64, 64, 64)
    tensor = model.graph.initializer[1]
    peaked = np.random.default_rng(0).standard_t(2, (64, 64)).astype(np.float32)
    tensor.raw_data = peaked.tobytes()
    shares = [zeros(w) for w in prune(model, sparsity=0.6, scope="global").values()]
    assert shares[1] > shares[2] + 0.05
    assert np.mean([shares[1], shares[2], 2 * shares[0], 2 * shares[3]]) == pytest.approx(0.6, abs=0.02)


def test_depthwise_and_tiny_tensors_are_left_alone() -> None:
    after = prune(conv(), sparsity=0.5, minimum=64)
    assert zeros(after["deep"]) == 0
    assert zeros(after["w"]) > 0 and zeros(after["point"]) > 0
    assert {name: zeros(w) > 0 for name, w in prune(conv(), sparsity=0.5, minimum=2000).items()} == {
        "w": True,
        "deep": False,
        "point": False,
    }


def test_without_sparsity_the_error_bound_decides() -> None:
    for error in (0.005, 0.02, 0.09):
        weight = gaussian(64, 48)
        values = prune(dense(weight), error=error)["w"]
        made = relative_error(weight, values, 1)
        assert 0.8 * error < made <= error


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.floats(0, 4),
    size=st.floats(1e-12, 1e6),
    granularity=st.sampled_from(["element", "row", "column", "block(2x3)"]),
    kind=st.sampled_from(["float", "float16", "double"]),
)
def test_the_error_bound_holds(seed: int, spread: float, size: float, granularity: str, kind: str) -> None:
    rng = np.random.default_rng(seed)
    dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
    weight = rng.standard_t(rng.integers(2, 30), (24, 40)) * np.exp(spread * rng.standard_normal(40))
    weight *= (np.clip(size, 1e-2, 1e3) if kind == "float16" else size) / np.abs(weight).max()
    weight = weight.astype(dtype)
    values = prune(dense(weight, kind), error=0.07, granularity=granularity, minimum=64)["w"]
    assert relative_error(weight, values, 1) <= 0.07 * (1 + 1e-5)


@pytest.mark.parametrize("name", ["mlp", "conv", "conv-transpose", "lstm", "gru", "embedding", "branches", "float16"])
def test_the_bounds_of_all_tensors_add_up(name: str) -> None:
    model = Model.load(MODELS[name]())
    before = {w.name: w.values().astype(np.float64) for w in model.weights()}
    assert Prune(error=0.05, minimum=64)(model, Context()) > 0
    total = sum(w.size for w in model.weights())
    for weight in model.weights():
        error = relative_error(before[weight.name], weight.values().astype(np.float64), weight.channel_axis)
        assert error**2 <= 0.05**2 * weight.size / total * 3, weight.name


def test_what_is_pruned_already_stays() -> None:
    model = Model.load(dense(gaussian(64, 48)))
    assert Prune(sparsity=0.5)(model, Context()) == 1
    assert Prune(sparsity=0.5)(model, Context()) == 0
    assert Prune(sparsity=0.4)(model, Context()) == 0
    assert Prune(sparsity=0.6)(model, Context()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sparsity=-0.1", "sparsity must be between 0 and 1"),
        ("sparsity=nan", "sparsity must be between 0 and 1"),
        ("error=2", "error must be between 0 and 1"),
        ("granularity=bock(4x4)", "granularity must be one of"),
        ("granularity=block(0x4)", "must be at least 1"),
        ("granularity=4:4", "fewer than all"),
        ("granularity=2:4 sparsity=0.5", "give one of the two"),
        ("scope=locl", "scope must be one of uniform, global"),
        ("norm=0", "norm must be between"),
        ("minimum=0", "minimum must be at least 1"),
        ("minimum=1.5", "not a value of type int"),
        ("sparsity", "has no value"),
        ("sparsity=", "not a value of type float or none"),
    ],
)
def test_impossible_options_are_refused(options: str, words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        parse(f"prune{{{options}}}", PASSES)


@pytest.mark.parametrize("order", ["abc", "bca", "cba"])
def test_first_and_last_are_those_that_run_first_and_last(order: str) -> None:
    """Files list weights in any order."""
    sizes = {"a": (64, 48), "b": (48, 48), "c": (48, 40)}
    model = build(
        "(float[2,64] x) => (float[m,n] y) { h = MatMul(x, a)  r = Relu(h)  k = MatMul(r, b)  y = MatMul(k, c) }",
        **{name: gaussian(*sizes[name]) for name in order},
    )
    pruned = prune(model, sparsity=0.8, scope="uniform")
    found = {name: round(zeros(pruned[name]), 2) for name in "abc"}
    assert found == {"a": 0.4, "b": 0.8, "c": 0.4}
    patterned = prune(model, granularity="2:4")
    assert {name: zeros(patterned[name]) for name in "abc"} == {"a": 0, "b": 0.5, "c": 0}
