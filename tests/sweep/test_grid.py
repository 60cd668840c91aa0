"""Grids: what a text stands for, and every way in which it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsqueeze.errors import PipelineError
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import parse
from onnxsqueeze.sweep import expand
from onnxsqueeze.sweep.grid import MOST


def test_every_combination_in_order() -> None:
    assert expand(["prune{sparsity=0.3..0.5}|share{bits=3..4}"], PASSES) == [
        "prune{sparsity=0.3},share{bits=3}",
        "prune{sparsity=0.3},share{bits=4}",
        "prune{sparsity=0.4},share{bits=3}",
        "prune{sparsity=0.4},share{bits=4}",
        "prune{sparsity=0.5},share{bits=3}",
        "prune{sparsity=0.5},share{bits=4}",
    ]


@pytest.mark.parametrize(
    ("grid", "values"),
    [
        ("share{bits=3..8}", [3, 4, 5, 6, 7, 8]),
        ("share{bits=3..8:2}", [3, 5, 7]),
        ("share{bits=[8 2 5]}", [8, 2, 5]),
        ("share{bits=[8,2]}", [8, 2]),
        ("share{bits=4..4}", [4]),
        ("share{bits=[5 5]}", [5]),
        ("share{ bits=7 }", [7]),
        ("share{error=0.05..0.15:0.05}", [0.05, 0.1, 0.15]),
        ("share{error=1e-2..3e-2}", [0.01, 0.02, 0.03]),
        ("share{error=0.1..0.25:0.05}", [0.1, 0.15, 0.2, 0.25]),
    ],
)
def test_values(grid: str, values: list[float]) -> None:
    option = "bits" if "bits" in grid else "error"
    assert [getattr(parse(text, PASSES)[0], option) for text in expand([grid], PASSES)] == values


def test_bars_and_commas_are_the_same_and_passes_keep_their_order() -> None:
    assert expand(["prune{granularity=[2:4 row]},huffman"], PASSES) == expand(
        ["prune{granularity=[2:4 row]} | huffman"], PASSES
    )
    assert expand(["huffman|share"], PASSES) == ["huffman,share"]


def test_several_grids_are_tried_one_after_the_other_and_nothing_twice() -> None:
    assert expand(["share{bits=3..4}", "share{bits=4..5}"], PASSES) == [f"share{{bits={b}}}" for b in (3, 4, 5)]


@given(st.integers(0, 99), st.integers(0, 40), st.integers(1, 9))
def test_ranges_are_exact_decimals(low: int, span: int, step: int) -> None:
    text = f"share{{error={low / 100:.2f}..{(low + span) / 100:.2f}:{step / 100:.2f}}}"
    errors = [value / 100 for value in range(low, low + span + 1, step) if value <= 100]
    if low + span <= 100:
        assert [parse(t, PASSES)[0].error for t in expand([text], PASSES)] == errors


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("", "cannot read the grid"),
        ("share{bits=3..8}|", "cannot read the grid"),
        ("|share", "cannot read the grid"),
        ("share{bits=3..8", "cannot read the grid"),
        ("prnue{sparsity=0.3..0.9}", "did you mean 'prune'"),
        ("prune{sprasity=0.3..0.9}", "did you mean 'sparsity'"),
        ("share{bits=3..9}", "bits must be between 1 and 8, not 9"),
        ("share{bits=8..3}", "must rise"),
        ("share{bits=3..8:0}", "must rise, in steps above 0"),
        ("share{bits=3..8:-1}", "must rise, in steps above 0"),
        ("share{bits=3..}", "is no range"),
        ("share{bits=a..b}", "is no range"),
        ("share{bits=[]}", "is empty"),
        ("share{bits=[3 4}", "cannot read"),
        ("share{bits}", "cannot read 'bits'"),
        ("share{bits=3..4 bits=5}", "given twice"),
        ("share{error=0..1:0.0001}", "over 1,000 values"),
        ("share{error=0..1e999999}", "values"),
        ("share{error=0..1e999999999}", "out of range"),
        ("share{error=1e-99999999..1}", ""),
        ("prune{sparsity=0.01..0.99}|share{bits=1..8}|huffman{nodes=1..9}", "7,128 pipelines, and at most 1,000"),
        ("|".join(["share{bits=1..8}"] * 50), "pipelines"),
    ],
)
def test_refusals(grid: str, words: str) -> None:
    with pytest.raises(PipelineError, match=r"^[^\n]+$") as refused:
        expand([grid], PASSES)
    assert words in str(refused.value)


def test_all_grids_together_are_limited() -> None:
    with pytest.raises(PipelineError, match="at most 1,000"):
        expand([f"prune{{sparsity=0.001..{MOST / 1000 - 0.2:.3f}}}", "prune{error=0.001..0.999}"], PASSES)
