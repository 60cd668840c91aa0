"""What models cost to run: the parts are the whole, layers are told apart by their weights, and devices differ."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnxsqueeze
from onnxsqueeze import cost
from onnxsqueeze.errors import SqueezeError
from onnxsqueeze.pipeline.context import Silent
from onnxsqueeze.report import stored
from onnxsqueeze.report.comparison import Comparison
from onnxsqueeze.report.expense import QUANTITIES, Expense, Expenses, basis, estimate, paid, totals
from onnxsqueeze.report.html.page import page
from onnxsqueeze.report.make import Wishes, report
from onnxsqueeze.report.markdown import markdown
from onnxsqueeze.report.sparsity import HEAD, rows, sentence

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    onnxsqueeze.compress(LENET, path, "prune{sparsity=0.9},share{bits=4},huffman")
    return path


def of(small: Path, device: str) -> Comparison:
    return report(str(LENET), str(small), Wishes(device=device), run=False, progress=Silent())


def expenses(found: Comparison) -> Expenses:
    assert found.expenses is not None
    return found.expenses


@pytest.mark.parametrize("device", cost.devices())
def test_layers_and_the_rest_are_the_whole(small: Path, device: str) -> None:
    found = of(small, device)
    for bill, sides in (
        (expenses(found).before, [layer.before for layer in found.layers]),
        (expenses(found).after, [layer.after for layer in found.layers]),
    ):
        added = sum((paid(side, bill) for side in sides), bill.rest)
        for quantity in QUANTITIES:
            assert quantity.of(added) == pytest.approx(quantity.of(bill.total), rel=1e-6)
        assert bill.total.energy > 0 and bill.total.seconds > 0 and bill.load_seconds > 0


def test_every_matrix_and_kernel_has_its_own_figures(small: Path) -> None:
    found = of(small, "eie")
    for layer in found.layers:
        figures = paid(layer.before, expenses(found).before)
        assert (figures.energy > 0) == layer.name.endswith("weight"), layer.name


def test_a_device_that_reads_packed_weights_and_skips_zeros_saves_energy(small: Path) -> None:
    found = expenses(of(small, "eie"))
    assert found.after.total.energy < found.before.total.energy
    assert found.after.total.seconds < found.before.total.seconds


def test_given_shapes_are_used(small: Path) -> None:
    before, after = stored.read(LENET), stored.read(small)
    device = cost.load_device("generic-cpu")
    one, eight = (estimate(before, after, device, {"image": (n, 1, 28, 28)}) for n in (1, 8))
    assert one.inputs == {"image": (1, 1, 28, 28)} and one.assumed == ()
    assert eight.before.total.energy > 2 * one.before.total.energy
    assert "image 8×1×28×28" in basis(eight)


def test_every_form_tells_the_same(small: Path) -> None:
    found = of(small, "eie")
    rows = totals(found.expenses)
    assert [row[0] for row in rows] == [
        "memory traffic a run",
        "energy a run",
        "time a run",
        "time to read from storage",
    ]
    text = page(found).replace("\N{NO-BREAK SPACE}", " ")
    for _, was, now, _ in rows[:3]:
        assert was in text and now in text
    assert 'id="m-energy"' in text and "Energy of one inference" in text


def test_an_unknown_device_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SqueezeError, match="unknown device 'toaster'"):
        report("none.onnx", "none.onnx", Wishes(device="toaster"), progress=Silent())


def test_expenses_add_up() -> None:
    assert Expense(1, 2, 3) + Expense(10, 20, 30) == Expense(11, 22, 33)


def test_break_even_is_told_of_every_matrix_and_kernel(small: Path) -> None:
    found = of(small, "eie")
    listed = expenses(found).break_even
    assert {item.layer for item in listed} == {layer.name for layer in found.layers if layer.name.endswith("weight")}
    told = list(rows(expenses(found), 2))
    assert len(told) == 2 and all(len(row) == len(HEAD) for row in told)
    for text in (page(found), markdown(found)):
        assert "Where sparse pays" in text and "gaps coded" in text
    assert "4 of 4 layers have zeros enough" in sentence(expenses(found)) or "3 of 4" in sentence(expenses(found))
    assert "has no sparse kernel" in sentence(expenses(of(small, "generic-cpu")))
