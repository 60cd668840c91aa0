"""Pages and Markdown: whole, small, nothing from outside, and names from a model never more than text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import hostile
import numpy as np
import pytest

import onnxsqueeze
from onnxsqueeze.cost.formats import FORMATS
from onnxsqueeze.pipeline.context import Context
from onnxsqueeze.report import comparison, layers, stored
from onnxsqueeze.report.comparison import Comparison
from onnxsqueeze.report.expense import Bill, BreakEven, Expense, Expenses
from onnxsqueeze.report.html import charts, heat, page, plot
from onnxsqueeze.report.layers import BINS, Layer, Side
from onnxsqueeze.report.markdown import markdown, plain
from onnxsqueeze.sensitivity import Layer as Tried
from onnxsqueeze.sensitivity import Point as Trial
from onnxsqueeze.sensitivity import Sensitivity
from onnxsqueeze.sweep import Point, Sweep

VOID = {"meta", "input", "link", "br", "wbr", "img", "hr"}
LIMIT = 1_500_000  # bytes


class Outline(HTMLParser):
    """Elements with their attributes; raises where they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    before, after = hostile.files(tmp_path_factory.mktemp("hostile"))
    verification = onnxsqueeze.compress(before).verification
    sides = stored.read(before), stored.read(after)
    found = layers.compare(*sides, Context())
    names = [layer.name for layer in found]
    return comparison.compare(*sides, found, verification, expenses_of(names, hostile.NAMES[0]), ["<i>note"])


def expenses_of(names: Sequence[str], device: str) -> Expenses:
    """Made-up figures, for pages that are not about them."""
    costs = {name: Expense(1e6 + i, 1e-3 / (i + 1), 1e-6 * i) for i, name in enumerate(names)}
    bill = Bill(sum(costs.values(), Expense()), costs, Expense(1, 2e-9, 3e-9), 10**6, True, 0.1, 0.2)
    pays = tuple(
        BreakEven(name, 0.5, dict.fromkeys(FORMATS, 0.25), None, {"storage": 2.0, "communication": 1.5, "compute": 1.0})
        for name in names
    )
    shapes = {name: (1, 3) for name in names[:2]}
    return Expenses(device, device, shapes, tuple(names[:2]), tuple(names), bill, bill, pays)


def wide(count: int, name: str = "layer") -> Comparison:
    """A comparison of models with very many layers."""
    rng = np.random.default_rng(0)

    def side(nbytes: int, encoding: str, number: int) -> Side:
        histogram = tuple(map(int, rng.integers(0, 1 << 30, BINS)))
        return Side(
            f"{name}.{number}.weight", (1024, 1024, 3, 3), "float32", encoding, nbytes, 0.123456, 1.2345, histogram
        )

    found = [
        Layer(
            f"{name}.{i}.weight",
            "Conv",
            side(10**7 - i, "float32", i),
            side(10**6, "gaps + huffman + scale", i),
            0.1234567,
        )
        for i in range(count)
    ]
    expenses = expenses_of([layer.name for layer in found], name)
    file = comparison.File("in.onnx", 10**10, "0" * 64, 17, count, count, 10**9, 10**10, 0.5)
    changes = tuple(comparison.Change(f"stored as {i}", -(10**9) + i) for i in range(9))
    return Comparison(file, file, "share", tuple(found), False, changes, None, expenses, (), "line")


def test_names_are_text_and_nothing_else(attacked: Comparison) -> None:
    text = page.page(attacked)
    found = Outline(text)
    assert len(found.all("script")) == 1 and len(found.all("style")) == 1
    assert found.all("img") == found.all("i") == found.all("b") == []
    assert not [a for _, attributes in found.elements for a in attributes if a.startswith("on")]
    joined = "".join(found.text)
    for name in hostile.NAMES[:6]:
        assert name in joined, name
    assert hostile.NAMES[5] in joined, "nothing that a template reads"
    assert "<i>note" in joined


def test_nothing_is_fetched_and_no_other_script_may_run(attacked: Comparison) -> None:
    text = page.page(attacked)
    found = Outline(text)
    assert not [a for _, attributes in found.elements for a in attributes if a in ("src", "href", "srcset", "action")]
    assert "@import" not in text and "url(" not in text and "//" not in re.sub(r"<pre.*?</pre>", "", text, flags=re.S)
    (policy,) = (m["content"] or "" for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and re.search(r"script-src 'sha256-[\w+/=]{44}';", policy)


def test_pages_are_accessible(attacked: Comparison) -> None:
    found = Outline(page.page(attacked))
    assert found.all("html") == [{"lang": "en"}] and len(found.all("h1")) == 1 and len(found.all("main")) == 1
    outer = [svg for svg in found.all("svg") if "class" in svg]
    assert outer and all(svg.get("aria-hidden") == "true" or svg.get("aria-label") for svg in outer)
    assert all(head.get("scope") in ("col", "row") for head in found.all("th"))
    assert all(box.get("type") == "radio" or box.get("id") == "filter" for box in found.all("input"))


@pytest.mark.parametrize(("count", "name"), [(5000, "layer"), (3000, "<&\"'>" * 400), (1000, "日本" * 500)])
def test_pages_are_small_whatever_the_model(count: int, name: str) -> None:
    text = page.page(wide(count, name))
    assert len(text.encode()) < LIMIT
    Outline(text)


def test_markdown_escapes(attacked: Comparison) -> None:
    text = markdown(attacked)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (4, 5, 9, 13) for row in rows)
    outside = re.sub(r"^(`{3,})sh\n.*?\n\1$", "", text, flags=re.S | re.M)
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", outside)
    assert "](" not in outside.replace("\\]\\(", "")
    assert len(text) < 65_536, "what a comment takes"


def test_markdown_text_is_plain() -> None:
    assert plain("a|b_c*[x](y) <b>\nline") == "a\\|b\\_c\\*\\[x\\]\\(y\\) \\<b\\> line"


def test_charts_are_to_scale() -> None:
    bar = str(charts.bar(25, 75, 100, "after"))
    assert 'x="25.00%"' in bar and 'width="50.00%"' in bar
    assert charts.outline([0, 2, 1], 20, True) == "M0 20h1V0h1V10h1V20z"
    assert charts.outline([1, 1], 20, False) == "M0 20V40h2V20z"
    assert charts.outline([0, 0], 20, True) == "M0 20h2V20z"


@pytest.mark.parametrize(
    ("top", "expected"), [(1, [0, 0.25, 0.5, 0.75, 1]), (32, [0, 10, 20, 30]), (0, [0]), (7e5, [0, 2e5, 4e5, 6e5])]
)
def test_ticks_are_round(top: float, expected: list[float]) -> None:
    assert charts.ticks(top) == pytest.approx(expected)


def test_a_sweeps_page() -> None:
    good = [Point(f"<b>{'x' * i}", 1000 * (20 - i), 0.02 * i, 0.99, 0.5, 1.0) for i in range(1, 20)]
    others = [Point("huge", 100, float("inf"), 0.0, None, 1.0), Point("unknown", 5)]
    points = (Point("bad", problem="<script>no"), *good, *others)
    found = Sweep("</title>", 10**6, "x.npz", points, tuple(range(19, 0, -1)), 10, 0)
    outline = Outline(plot.page(found))
    assert len(outline.all("script")) == 1 and outline.all("b") == []
    assert [circle["class"] for circle in outline.all("circle")].count("knee") == 1
    assert len(outline.all("circle")) == 20
    nothing = dataclasses.replace(found, points=(Point("unknown", 5),), front=(), knee=None)
    assert Outline(plot.page(nothing)).all("circle") == []


def analysed(names: Sequence[str]) -> Sensitivity:
    """The first weight is hurt most; the last one not at all."""

    def points(values: Sequence[float], worth: float) -> tuple[Trial, ...]:
        return tuple(Trial(v, 100, worth * i / len(values), worth * i / len(values), 0.0) for i, v in enumerate(values))

    found = []
    for i, name in enumerate(names):
        worth = 2 * (1 - i / (len(names) - 1))
        zeros, bits = points([j / 10 for j in range(10)], worth), points(range(8, 1, -1), worth)[::-1]
        found.append(Tried(name, "MatMul", (8, 8), 64, 256, "obs", zeros, bits))
    about = (("y", "decisions"),)
    return Sensitivity("</title>", "s.npz", 16, 48, True, about, tuple(found), ("<b>note",), 1.0)


def test_a_page_of_sensitivity() -> None:
    found = analysed([f"<script>{i}" for i in range(30)])
    text = heat.page(found)
    outline = Outline(text)
    assert len(outline.all("script")) == 1 and outline.all("b") == []
    cells = [float(str(c["style"]).removeprefix("--h:").removesuffix("%")) for c in outline.all("td") if "style" in c]
    assert len(cells) == 30 * 17 and min(cells) == 0 and max(cells) == heat.WARMEST
    assert [path["class"] for path in outline.all("path")].count("c0") == 2
    assert "16 samples (s.npz), 48 samples told what flows into the weights" in "".join(outline.text)
    assert found.layers[-1].most_zeros(0.01) == 0.9 and found.layers[-1].fewest_bits(0.01) == 2
    assert found.layers[0].most_zeros(0.01) == 0 and found.layers[0].fewest_bits(0.01) == 8
    many = analysed([str(i) for i in range(4000)])
    assert len(heat.page(many).encode()) < LIMIT


def test_a_page_is_the_same_every_time(attacked: Comparison) -> None:
    assert page.page(attacked) == page.page(attacked)


def test_reports_do_not_change_the_files(tmp_path: Path) -> None:
    before, after = hostile.files(tmp_path)
    bytes_before = [path.read_bytes() for path in (before, after)]
    layers.compare(stored.read(before), stored.read(after), Context())
    assert [path.read_bytes() for path in (before, after)] == bytes_before
    assert sorted(tmp_path.iterdir()) == sorted([before, after])
