"""Weight sharing: the codebook, its size, and the error that it makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from small_graphs import MODELS, build, gaussian

from onnxsqueeze.model import Model
from onnxsqueeze.passes import clusters
from onnxsqueeze.passes.bounds import packable, relative_error
from onnxsqueeze.passes.share import Share
from onnxsqueeze.pipeline import Context

Array = np.ndarray[Any, Any]


def one(weight: Array, kind: str = "float") -> onnx.ModelProto:
    return build(f"({kind}[1,{len(weight)}] x) => ({kind}[a,b] y) {{ y = MatMul(x, w) }}", w=weight)


def share(weight: Array, following: tuple[str, ...] = (), kind: str = "float", seed: int = 0, **options: Any) -> Any:
    """The changes, the weight afterwards and its note."""
    model = Model.load(one(weight, kind))
    changes = Share(**options)(model, Context(seed=seed, following=following))
    (found,) = model.weights()
    return changes, found.values(), found.note


def long_tailed(*shape: int, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_t(3, shape) * 0.05).astype(np.float32)


def inertia(values: Array, centers: Array) -> float:
    nearest = centers[np.abs(values.reshape(-1, 1) - centers).argmin(axis=1)]
    return float(((values.reshape(-1) - nearest) ** 2).sum())


@pytest.mark.parametrize("count", [2, 8, 16, 32, 64])
@pytest.mark.parametrize("make", [gaussian, long_tailed], ids=["gaussian", "long-tailed"])
def test_k_means_is_as_good_as_scikit_learns(make: Any, count: int) -> None:
    values = make(60, 40).astype(np.float64)
    reference = KMeans(count, n_init=10, random_state=0).fit(values.reshape(-1, 1))
    data = clusters.SortedValues(values)
    for init in ("linear", "density", "random"):
        found = clusters.kmeans(data, clusters.initial_centers(data, count, init, 1)).astype(np.float64)
        assert len(found) == count
        assert inertia(values, found) <= 1.001 * reference.inertia_, init


def weighted_inertia(values: Array, weights: Array, centers: Array) -> float:
    nearest = centers[np.abs(values.reshape(-1, 1) - centers).argmin(axis=1)]
    return float((weights * (values.reshape(-1) - nearest) ** 2).sum())


@pytest.mark.parametrize("count", [2, 8, 15, 32])
@pytest.mark.parametrize("make", [gaussian, long_tailed], ids=["gaussian", "long-tailed"])
def test_weighted_k_means_is_as_good_as_scikit_learns(make: Any, count: int) -> None:
    values = make(60, 40).astype(np.float64)
    weights = np.broadcast_to(np.exp(2 * np.random.default_rng(3).standard_normal(40)), (60, 40)).reshape(-1)
    reference = KMeans(count, n_init=10, random_state=0).fit(values.reshape(-1, 1), sample_weight=weights)
    data = clusters.SortedValues(values, weights)
    for init in ("linear", "density", "random"):
        found = clusters.kmeans(data, clusters.initial_centers(data, count, init, 1)).astype(np.float64)
        assert len(found) == count
        error = weighted_inertia(values, weights, found)
        assert error <= 1.01 * reference.inertia_, init
        assert clusters.square_error(data, found.astype(np.float32)) == pytest.approx(error, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.2, 4), count=st.integers(2, 24), size=st.integers(40, 3000))
def test_weights_never_make_the_weighted_error_larger(seed: int, spread: float, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(4, size).astype(np.float32)
    weights = np.exp(spread * rng.standard_normal(size))
    plain, data = clusters.SortedValues(values), clusters.SortedValues(values, weights)
    one = clusters.kmeans(plain, clusters.initial_centers(plain, count, "linear", 0))
    other = clusters.kmeans(data, clusters.initial_centers(data, count, "linear", 0))
    errors = [weighted_inertia(values, weights, np.asarray(c, np.float64)) for c in (other, one)]
    assert errors[0] <= errors[1] * (1 + 1e-4) + 1e-9


def test_equal_weights_change_nothing() -> None:
    values = long_tailed(50, 50)
    plain, data = clusters.SortedValues(values), clusters.SortedValues(values, np.full(values.size, 2.0))
    starts = clusters.initial_centers(plain, 16, "linear", 0)
    assert np.allclose(clusters.kmeans(plain, starts), clusters.kmeans(data, starts), atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4])
def test_values_count_by_the_power_of_their_inputs(bits: int) -> None:
    """Where inputs differ in power, codebooks are fitted to the values that meet the loud ones."""
    rng = np.random.default_rng(0)
    weight = gaussian(40, 64)
    weight[20:] *= 8  # large values at faint inputs
    loud = np.where(np.arange(40) < 20, 1, 0.01)
    feeds = [{"x": (rng.standard_normal((1, 40)) * loud).astype(np.float32)} for _ in range(128)]
    model = Model.load(one(weight))
    assert Share(bits=bits, scale="none")(model, Context(calibration=feeds)) == 1
    (found,) = model.weights()
    rows = np.concatenate([f["x"] for f in feeds])
    moved, plain = (
        float(np.square(rows @ (v - weight)).sum()) for v in (found.values(), share(weight, bits=bits, scale="none")[1])
    )
    assert moved < 0.2 * plain


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("init", ["linear", "density", "random"])
def test_bits_give_the_exact_number_of_values(bits: int, init: str) -> None:
    changes, values, note = share(gaussian(64, 96), bits=bits, init=init, scale="none")
    assert changes == 1
    assert len(np.unique(values)) == len(note.sharing.codebook) == 2**bits
    assert set(np.unique(values)) == set(note.sharing.codebook)


def test_the_draw_depends_on_the_seed_alone() -> None:
    drawn = [share(gaussian(64, 96), bits=4, init="random", seed=seed)[1].tobytes() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("bits", [None, 1, 4, 8])
@pytest.mark.parametrize("following", [(), ("huffman",)])
def test_zeros_stay_zero_and_outside_of_the_codebook(bits: int | None, following: tuple[str, ...]) -> None:
    weight = np.where(np.random.default_rng(0).random((64, 96)) < 0.6, 0, gaussian(64, 96)).astype(np.float32)
    _, values, note = share(weight, following, bits=bits)
    assert (values[weight == 0] == 0).all()
    if bits is not None:
        assert 0 not in note.sharing.codebook
        assert len(note.sharing.codebook) == 2**bits - (bits == 8)
        assert ((values == 0) == (weight == 0)).all()


@pytest.mark.parametrize("following", [(), ("huffman",)], ids=["packed", "coded"])
@pytest.mark.parametrize("error", [0.003, 0.05])
@pytest.mark.parametrize("scale", ["auto", "channel", "none"])
@pytest.mark.parametrize("make", [gaussian, long_tailed], ids=["gaussian", "long-tailed"])
def test_the_error_bound_holds(make: Any, scale: str, error: float, following: tuple[str, ...]) -> None:
    rng = np.random.default_rng(3)
    for weight in (make(64, 96), make(64, 96) * np.exp(rng.standard_normal(96)).astype(np.float32)):
        _, values, _ = share(weight, following, error=error, scale=scale)
        assert relative_error(weight, values, 1) <= max(error, 0.015)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.floats(0, 4),
    size=st.floats(1e-6, 1e6),
    zeros=st.sampled_from([0.0, 0.3, 0.95]),
    coded=st.booleans(),
    kind=st.sampled_from(["float", "float16", "double"]),
)
def test_the_error_bound_holds_for_all_sorts(
    seed: int, spread: float, size: float, zeros: float, coded: bool, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
    weight = rng.standard_t(rng.integers(2, 30), (24, 40)) * np.exp(spread * rng.standard_normal(40))
    weight *= (min(size, 1e3) if kind == "float16" else size) / np.abs(weight).max()
    weight = np.where(rng.random(weight.shape) < zeros, 0, weight).astype(dtype)
    _, values, _ = share(weight, ("huffman",) if coded else (), kind, error=0.06)
    assert values.dtype == dtype
    assert relative_error(weight, values, 1) <= 0.06


@pytest.mark.parametrize("name", MODELS)
def test_the_bounds_of_all_tensors_add_up(name: str) -> None:
    model = Model.load(MODELS[name]())
    before = {w.name: w.values().astype(np.float64) for w in model.weights()}
    Share(error=0.1)(model, Context(following=("huffman",)))
    for weight in model.weights():
        assert relative_error(before[weight.name], weight.values().astype(np.float64), weight.channel_axis) <= 0.1


def test_what_share_leaves_alone() -> None:
    assert share(gaussian(15, 17), minimum=256)[0] == 0  # tiny
    assert share(np.zeros((64, 64), np.float32))[0] == 0  # nothing but zeros
    broken = gaussian(64, 64)
    broken[1, 1] = np.inf
    notes: list[str] = []
    model = Model.load(one(broken))
    assert Share()(model, Context(notes=notes.append)) == 0
    assert notes == ["'w' holds NaN or infinite values: left as it is"]


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("size", [1e-300, 1e-50, 1e-40, 1e-36, 1e-30, 1e-24, 1e-20, 1e20, 1e35, 1e37, 1e50, 1e200])
def test_values_of_any_size_keep_to_the_bound(size: float, kind: str) -> None:
    """The error is measured here in long doubles, not by the code that chooses."""
    weight = np.random.default_rng(0).standard_normal((64, 64)) * size
    with np.errstate(over="ignore"):
        weight = weight.astype(np.float32 if kind == "float" else np.float64)
    _, values, _ = share(weight, ("huffman",), kind, error=0.06)
    exact, made = weight.astype(np.longdouble), values.astype(np.longdouble)
    if np.isfinite(weight).all() and weight.any():
        assert np.linalg.norm((made - exact) / size) <= 0.061 * np.linalg.norm(exact / size)
    else:
        assert values.tobytes() == weight.tobytes()


def test_few_values_are_kept_exactly() -> None:
    weight = np.random.default_rng(0).choice(np.array([-0.3, 0.1, 0.7], np.float32), (64, 96))
    for bits in (2, 5):
        _, values, note = share(weight, bits=bits, scale="none")
        assert values.tobytes() == weight.tobytes()
        assert len(note.sharing.codebook) == 3


def test_a_scale_per_channel_pays_where_channels_differ() -> None:
    weight = gaussian(64, 96) * np.exp2(np.arange(96) % 8).astype(np.float32)
    errors = {s: relative_error(weight, share(weight, bits=4, scale=s)[1], 1) for s in ("none", "channel", "auto")}
    assert errors["channel"] < errors["none"] / 2
    assert errors["auto"] == min(errors.values())


def test_depthwise_convolutions_follow_their_inputs_too() -> None:
    """Neighbouring pixels are alike: what rounding one tap does, the others make up for."""
    conv = "(float[1,64,12,12] x) => (float[1,64,10,10] y) { y = Conv <group=64, kernel_shape=[3,3]> (x, w) }"
    proto = build(conv, w=gaussian(64, 1, 3, 3))
    smooth = np.random.default_rng(0).standard_normal((24, 64, 12, 12)).cumsum(axis=2).cumsum(axis=3).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(smooth[16:], (3, 3), (2, 3))
    errors = {}
    for feedback in (False, None):
        model = Model.load(proto)
        Share(bits=3, feedback=feedback)(model, Context(calibration=tuple({"x": x[None]} for x in smooth[:16])))
        change = (model.weights()[0].values() - gaussian(64, 1, 3, 3))[:, 0]
        errors[feedback] = float(np.square(np.einsum("nchwij,cij->nchw", windows, change)).mean())
    assert errors[None] < 0.5 * errors[False]


@pytest.mark.parametrize("shape", [(8192, 1), (1, 8192, 1)])
def test_a_row_of_factors_is_left_alone(shape: tuple[int, ...]) -> None:
    """Such as the scales of a table of integers: little to save, and all that they scale would suffer."""
    text = "(float[1,8192,1] x) => (float[a,b,c] y) { y = Mul(x, scales) }"
    model = Model.load(build(text, scales=gaussian(*shape)))
    assert not packable(model, 64, Context())
    assert [w.name for w in packable(model, 64, Context(), vectors=True)] == ["scales"]
