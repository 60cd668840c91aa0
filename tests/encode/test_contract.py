"""Every operator name of the format: three decoders, four opsets, one answer, bit for bit."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from packing import OPSETS, Array, Packer, facts, model_of, run

from onnxsqueeze.encode import Encoded, Note, Pattern, Scale, Sharing, reference, smallest
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.names import spec_of
from onnxsqueeze.encode.nodes import from_node, to_node
from onnxsqueeze.errors import FormatError

# The table: names, and the shapes that take turns under them

PACKED = [f"P{k}" for k in range(1, 9)]
HUFFMAN = [f"H{d}{low}" for d in (4, 8, 12) for low in ("", "L2", "L3", "L4", "L5")] + ["H1", "H5L1", "H10L7"]
SUFFIXES = [("", 0), ("_S", 0), ("_C", 10), ("_C", 11), ("_S_C", 10), ("_S_C", 11)]
RAW_SUFFIXES = {"Raw16": SUFFIXES[:1], "Raw64": SUFFIXES[:1]}
VALUES = [*PACKED, "H4", "H8L2", "H12", "H12L3", "Raw16", "Raw32", "Raw64"]
DISTANCES = [*PACKED, "H4", "H8", "H12", "H4L2", "H8L3", "H12L4"]
GROUPS = {
    "P1": (2,),
    "P2": (3, 4),
    "P3": (8, 5),
    "P4": (16,),
    "P5": (32, 20),
    "P6": (64,),
    "P7": (128,),
    "P8": (256,),
}

EVEN = [(40,), (8, 1), (16, 25), (2, 3, 4, 1, 5), (64, 3, 3, 3), (1, 2000)]
ODD = [(13,), (5, 1), (3, 5, 7), (1, 3, 1, 1, 5), (2, 2, 25, 3, 7), (999,), (33, 31)]
SPARSE = [(997,), (40, 50), (2, 3, 4, 5, 9), (1201, 1), (8, 64, 3)]


def suffix_of(row: int, column: int, values: str) -> tuple[str, int]:
    """The suffixes take turns along rows and columns of a table."""
    suffixes = RAW_SUFFIXES.get(values, SUFFIXES)
    return suffixes[(row // 2 + column) % len(suffixes)]


def dense_cases() -> Iterator[tuple[str, tuple[int, ...], int]]:
    even, odd = itertools.cycle(EVEN), itertools.cycle(ODD)
    for row, kind in enumerate(PACKED + HUFFMAN):
        every = kind in ("P3", "P4", "H8L3")
        for suffix, to in SUFFIXES if every else (suffix_of(row, column, kind) for column in (0, 2)):
            yield f"Dense_{kind}{suffix}", next(even), to
            yield f"Dense_{kind}{suffix}_T", next(odd), to


def gaps_cases() -> Iterator[tuple[str, tuple[int, ...], int]]:
    shapes = itertools.cycle(SPARSE)
    for (row, positions), (column, values) in itertools.product(enumerate(DISTANCES), enumerate(VALUES)):
        suffix, to = suffix_of(row, column, values)
        if (row + column) % 2 == 0:
            yield f"Gaps_{positions}_{values}{suffix}", next(shapes), to


def nm_cases() -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    for (row, positions), (column, values) in itertools.product(enumerate(GROUPS), enumerate(VALUES)):
        suffix, to = suffix_of(row, column, values)
        group = GROUPS[positions][column % len(GROUPS[positions])]
        shape = [(group * 2, 7), (3, group, 3), (5, 2, group), (7 * group,)][(row + column) % 4]
        yield f"NM_{positions}_{values}{suffix}", shape, to, group


def fill_cases() -> Iterator[tuple[str, tuple[int, ...], int]]:
    yield from (("Fill", shape, to) for shape in ((1,), (13,), (2, 1, 3, 1, 5)) for to in (0, 10, 11))


TABLES = {"Fill": fill_cases, "Dense": dense_cases, "Gaps": gaps_cases, "NM": nm_cases}


@functools.cache
def packed(layout: str) -> list[tuple[Encoded, Array]]:
    """The table's weights, packed by the tests themselves, with what they must decode to."""
    return [Packer(name, seed).pack(*rest) for seed, (name, *rest) in enumerate(TABLES[layout]())]


# What the compiler itself makes of awkward weights


def awkward_weights() -> Iterator[tuple[str, Array, Note]]:
    rng = np.random.default_rng(5)
    plain, coded = Note(), Note(entropy=True)
    one_hot = np.zeros((37, 29), np.float32)
    one_hot[17, 3] = -2.5
    yield "one nonzero", one_hot, plain
    yield "one nonzero, coded", one_hot.astype(np.float16), coded
    yield "first only", np.eye(1, 500, dtype=np.float64), coded
    yield "last only", np.eye(1, 500, 499, dtype=np.float32), plain
    yield "all zero", np.zeros((3, 4, 5), np.float16), plain
    yield "all -0.0", np.full((3, 40), -0.0, np.float32), plain
    yield "all equal", np.full((7, 1, 9, 1, 3), 1e-45, np.float32), coded
    yield "all NaN", np.full(100, np.nan, np.float32), plain
    some = np.where(rng.random((40, 41)) < 0.9, np.float32(0), rng.standard_normal((40, 41), np.float32))
    yield "zeros of both signs", np.resize(np.array([0.0, -0.0, 3.0], np.float32), (40, 41)), coded
    yield "some zeros that are -0.0", np.where(rng.random((40, 41)) < 0.02, np.float32(-0.0), some), coded
    yield "zeros that are -0.0", np.where(rng.random((40, 41)) < 0.9, -0.0, 3.0).astype(np.float32), coded
    for dtype in (np.float16, np.float32, np.float64):
        distinct = np.arange(-128, 128).astype(dtype) / 8
        yield (
            f"256 distinct {dtype.__name__}",
            rng.permutation(np.resize(distinct, 2560)).reshape(40, 64),
            plain,
        )
        skewed = distinct[np.clip(rng.normal(128, 9, (50, 61)).round().astype(int), 0, 255)]
        yield f"bell of {dtype.__name__}", skewed, coded
        yield f"sparse bell of {dtype.__name__}", skewed * (rng.random(skewed.shape) < 0.2) + dtype(0), coded
        noise = (rng.standard_normal((60, 41)) * (rng.random((60, 41)) < 0.2)).astype(dtype) + dtype(0)
        yield f"sparse noise of {dtype.__name__}", noise, coded
        yield f"rare noise of {dtype.__name__}", (noise * (rng.random((60, 41)) < 0.02)) + dtype(0), coded
    tiny = np.array([1, 2, 3, 1023, -5], np.float16) * np.float16(2**-24)
    yield "float16 subnormals", rng.choice(tiny, (9, 99)), coded
    huge = np.array([3.4e38, -3.4e38, 1e-45, 1.2e-38, -1e-40], np.float32)
    yield "huge and tiny", rng.choice(huge, (64, 1, 5, 1, 2)), coded
    yield "rows of one", rng.choice(np.array([-1, 0, 1], np.float32), (500, 1)), coded
    codebook = np.linspace(-2, 2, 15).astype(np.float32)
    scale = Scale(1, np.array([0.3, 0.7, 1.9], np.float32), rng.integers(0, 3, 24).astype(np.uint8))
    for dtype in (np.float16, np.float32, np.float64):
        shared = codebook[np.clip(rng.normal(7, 2, (32, 24, 3)).round().astype(int), 0, 14)]
        for keep in (1.0, 0.1):
            kept = (shared * (rng.random(shared.shape) < keep) + np.float32(0)) * scale.broadcast(3)
            yield (
                f"scaled {dtype.__name__} {keep}",
                kept.astype(dtype),
                Note(Sharing(codebook, scale), None, True),
            )
        pairs = shared.reshape(-1, 4).copy()
        pairs[np.arange(len(pairs)), rng.integers(0, 4, len(pairs))] = 0
        pairs[np.arange(len(pairs)), rng.integers(0, 4, len(pairs))] = 0
        paired = np.moveaxis(pairs.reshape(32, 3, 24), 1, 2)
        yield f"2:4 {dtype.__name__}", (paired + 0).astype(dtype), Note(None, Pattern(2, 4, 1), False)
        unshared = (paired * rng.standard_normal(paired.shape) + 0.0).astype(dtype)
        yield f"2:4 unshared {dtype.__name__}", unshared, Note(None, Pattern(2, 4, 1), False)


AWKWARD = {name: (values, note) for name, values, note in awkward_weights()}


@functools.cache
def made() -> list[tuple[Encoded, Array]]:
    found = [(smallest(values, note), values) for values, note in AWKWARD.values()]
    return [(encoded, values) for encoded, values in found if encoded is not None]


SOURCES = {**{layout: functools.partial(packed, layout) for layout in TABLES}, "made": made}
sources = pytest.mark.parametrize("source", SOURCES)


def assert_same(encoded: Encoded, found: Array, expected: Array) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), encoded.op_type
    assert found.tobytes() == expected.tobytes(), encoded.op_type


# The contract


@sources
def test_native_and_reference_decoders_agree(source: str) -> None:
    for encoded, dense in SOURCES[source]():
        assert_same(encoded, reference.decode(encoded), dense)
        for threads in (1, 3):
            assert_same(encoded, decode(encoded, threads), dense)


@sources
@pytest.mark.parametrize("opset", OPSETS)
def test_models_are_valid(source: str, opset: int) -> None:
    onnx.checker.check_model(model_of(SOURCES[source](), opset), full_check=True)


@sources
@pytest.mark.parametrize(("level", "opset"), [("none", 13), ("basic", 25), ("all", 17)])
def test_a_stock_runtime_decodes(source: str, level: str, opset: int) -> None:
    weights = SOURCES[source]()
    outputs, left = run(model_of(weights, opset), level)
    for (encoded, dense), output in zip(weights, outputs, strict=True):
        assert_same(encoded, output, dense)
    if level != "none":
        assert left <= {"Identity"}, "something was not folded at load"


@sources
def test_nodes_come_back(source: str) -> None:
    for encoded, _ in SOURCES[source]():
        node, tensors = to_node(encoded, "w", "0.")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
        assert facts(from_node(node, arrays.get)) == facts(encoded)


@pytest.mark.parametrize("name", AWKWARD)
def test_encoding_is_deterministic_and_exact(name: str) -> None:
    values, note = AWKWARD[name]
    first, second = smallest(values, note), smallest(values.copy(), note)
    assert first is not None, "an awkward weight that stays dense tests nothing"
    assert second is not None and facts(first) == facts(second)
    assert_same(first, decode(first), values)


def test_strided_weights_encode_like_contiguous_ones() -> None:
    wide = np.random.default_rng(0).choice(np.array([-1, 0, 2], np.float32), (60, 80))
    for view in (wide.T, wide[::2, 1::3], wide[::-1]):
        from_view, from_copy = smallest(view, Note()), smallest(np.ascontiguousarray(view), Note())
        assert from_view is not None and from_copy is not None
        assert facts(from_view) == facts(from_copy)


def test_the_tables_cover_the_grammar() -> None:
    names = {name for cases in TABLES.values() for name, *_ in cases()}
    specs = [spec_of(name) for name in names]
    assert {s.positions for s in specs if s.layout == "Gaps"} == set(DISTANCES)
    assert {s.values for s in specs if s.layout == "Dense"} == {*PACKED, *HUFFMAN}
    assert {s.values for s in specs if s.layout == "Gaps"} == set(VALUES)
    assert {(s.positions, s.values) for s in specs if s.layout == "NM"} == set(itertools.product(PACKED, VALUES))
    for layout in ("Gaps", "NM"):
        found = {(s.raw, s.scaled, s.converted) for s in specs if s.layout == layout}
        assert found == set(itertools.product((False, True), repeat=3)), layout


@pytest.mark.parametrize(
    "name",
    [
        *("", "fill", "Fill_C", "Dense", "Dense_P0", "Dense_P9", "Dense_P4_", "Dense_P4_T_S", "Dense_P4_C_S"),
        *("Dense_H0", "Dense_H13", "Dense_H4L0", "Dense_H4L8", "Dense_H04", "Dense_P4_P4", "Dense_Raw32"),
        *("Gaps_P4", "Gaps_P4_P4_T", "Gaps_Raw16_P4", "Gaps_P4_Raw8", "NM_H4_P4", "NM_P2_P4_T", "Dense_P4\n"),
        *("Gaps_P4_Raw16_S", "Gaps_P4_Raw64_C", "NM_P2_Raw16_S_C", "Dense_P４"),
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="not in format version 1"):
        spec_of(name)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((0, 4), np.float32), "no elements"),
        (np.float32(1.5).reshape(()), "no dimensions"),
        (np.random.default_rng(0).standard_normal((50, 50)).astype(np.float32), "incompressible"),
        (np.array([1.0, 2.0], np.float32), "too small"),
        (np.zeros((1,) * 33 + (400,), np.float32), "more than 32 dimensions"),
    ],
)
def test_weights_that_stay_dense(values: Array, why: str) -> None:
    assert smallest(values, Note(entropy=True)) is None, why
