"""Reports: the same facts as tables and as JSON, and bars only where somebody watches."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import pytest

import onnxsqueeze
from onnxsqueeze.report import inspect, listing, progress, tables, units
from onnxsqueeze.report.facts import facts, family, groups, plain
from onnxsqueeze.verify import Fidelity, Verification

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


@pytest.fixture(scope="module")
def result() -> onnxsqueeze.Result:
    return onnxsqueeze.compress(LENET, passes="prune,share,huffman")


def drawn(draw: object, *arguments: object) -> str:
    console = tables.Screen(file=io.StringIO(), width=160)
    draw(*arguments, console)  # type: ignore[operator]
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_facts_are_json_and_add_up(result: onnxsqueeze.Result) -> None:
    told = json.loads(json.dumps(plain(facts(result)), allow_nan=False))
    assert told["ratio"] == pytest.approx(result.ratio)
    assert sum(g["nbytes_before"] for g in told["groups"]) == sum(w["dense_nbytes"] for w in told["weights"])
    assert sum(g["tensors"] for g in told["groups"]) == len(told["weights"])
    assert {"name", "text", "changes", "nbytes_before", "nbytes_after", "seconds"} == set(told["steps"][0])
    assert {"inputs", "samples", "outputs"} == set(told["verification"])


def test_tables_hold_the_same(result: onnxsqueeze.Result) -> None:
    text = drawn(tables.show, result)
    for step in result.steps:
        assert step.name in text and units.size(step.nbytes_after) in text
    for group in groups(result.weights):
        assert group.encoding in text and units.ratio(group.nbytes_before, group.nbytes_after) in text
    assert f"{result.ratio:.2f}x smaller" in text
    assert "made from the signature" in text and "relative error" in text and "same top-1" in text


def test_what_json_cannot_say_becomes_null() -> None:
    odd = [float("nan"), float("inf"), -float("inf"), 1.5, True, None, (1, "a"), {"k": float("nan")}, Path("p")]
    assert plain(odd) == [None, None, None, 1.5, True, None, [1, "a"], {"k": None}, "p"]


def test_fidelity_is_shown() -> None:
    outputs = (Fidelity("y", 0.0123, 0.99, 0.975, False, True), Fidelity("[/]z:cat:", 0.0, 1.0, None, True, True))
    outputs += (Fidelity("void", float("nan"), float("nan"), None, False, True),)
    text = drawn(tables.show_verification, Verification("lines.npz", 3, outputs))
    for words in (
        "3 input sets (lines.npz)",
        "1.23e-02",
        "0.990000",
        "97.50 %",
        "exact",
        "[/]z:cat:",
        "nothing finite",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "dense"),
        ("Dense_P4", "codebook"),
        ("Dense_H6L2_S", "codebook + huffman + scale"),
        ("Gaps_H5_Raw32", "gaps"),
    ],
)
def test_encodings_in_words(name: str, words: str) -> None:
    assert family(name).startswith(words)


def test_a_listing_of_weights(tmp_path: Path) -> None:
    onnxsqueeze.compress(LENET, tmp_path / "out.onnx", "prune,share,huffman")
    before, after = inspect.listing(str(LENET)), inspect.listing(str(tmp_path / "out.onnx"))
    assert {r.name: r.shape for r in before.rows} == {r.name: r.shape for r in after.rows}
    assert (before.passes, after.passes) == ("", "prune,share,huffman")
    assert [r.nbytes for r in before.rows] == sorted((r.nbytes for r in before.rows), reverse=True)
    largest = after.rows[0]
    assert largest.distinct <= 256 and largest.encoding.startswith("Dense_H") and "Gemm" in largest.feeds
    assert "layer5.weight" in drawn(inspect.show, after) or largest.name in drawn(inspect.show, after)
    json.dumps(plain(inspect.facts(after)), allow_nan=False)


def test_passes_and_zoo() -> None:
    told = {entry["name"]: entry for entry in listing.pass_facts()}
    assert told["prune"]["source"] == "Han et al. 2015; Mao et al. 2017; Mishra et al. 2021"
    assert told["share"]["source"] == "Han, Mao and Dally 2016, section 3"
    assert {"name": "bits", "type": "int | None", "default": "none"} in told["share"]["options"]
    assert "Without --passes: fold,share,huffman" in drawn(listing.show_passes)
    assert "silero-vad" in drawn(listing.show_zoo)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bars_over(seconds: float, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, visible: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PATIENCE", 0.2)
    monkeypatch.setenv("TERM", "xterm")
    with progress.Bars(visible) as bars:
        bars.start("share", 2)
        bars.advance("layer1.[weight]")
        time.sleep(seconds)
    return stream.getvalue()


def test_bars_appear_on_a_terminal_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = bars_over(1.0, Terminal(), monkeypatch)
    assert "share: layer1.[weight]" in shown and "1/2" in shown


def test_no_bars_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bars_over(0.0, Terminal(), monkeypatch) == ""
    assert bars_over(0.5, io.StringIO(), monkeypatch) == ""
    assert bars_over(0.5, Terminal(), monkeypatch, visible=False) == ""
