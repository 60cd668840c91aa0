"""Quantities in words."""

from __future__ import annotations

import pytest

from onnxsqueeze.report import units


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1.5e6, "1.50 MB"), (2.25e12, "2250.00 GB")]
)
def test_sizes(number: float, text: str) -> None:
    assert units.size(number) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.5, "50.0 %"), (1e-9, "< 0.1 %"), (1 - 1e-9, "> 99.9 %"), (0.0005, "0.1 %")],
)
def test_percentages_are_all_or_nothing_only_where_they_are(share: float, text: str) -> None:
    assert units.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (1.2345, "1.23 J"),
        (999.9, "1 kJ"),
        (640e-12, "640 pJ"),
        (3.1e-12, "3.1 pJ"),
        (2e-16, "0.2 fJ"),
        (5e15, "5e+03 TJ"),
        (-4e-3, "-4 mJ"),
        (float("inf"), "inf J"),
    ],
)
def test_metric_prefixes(value: float, text: str) -> None:
    assert units.metric(value, "J") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 %"), (0.12345, "12.3 %"), (float("inf"), "lost"), (1e-7, "1e-05 %")]
)
def test_errors(value: float, text: str) -> None:
    assert units.error(value) == text


def test_names_keep_their_ends() -> None:
    assert units.short("encoder.layer.1.weight", 9) == "…1.weight"
    assert units.short("short", 5) == "short"
    assert all(len(units.short("x" * n, 8)) <= 8 for n in range(20))


def test_ratios() -> None:
    assert (units.ratio(3, 2), units.ratio(3, 0)) == ("1.50x", "-")
