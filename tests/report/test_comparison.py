"""Two files compared: every byte is accounted for, weights find each other, and errors are those of NumPy."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import hostile
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pytest import approx
from rich.console import Console

import onnxsqueeze
from onnxsqueeze.pipeline.context import Context
from onnxsqueeze.report import comparison, inspect, layers, stored, terminal
from onnxsqueeze.report.comparison import Comparison
from onnxsqueeze.report.facts import plain
from onnxsqueeze.runtime import native
from onnxsqueeze.verify import Verification

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"
PASSES = "prune{sparsity=0.7},share{bits=5},huffman"


def conv_model(weight: np.ndarray, factor: np.ndarray, name: str = "w") -> onnx.ModelProto:
    """A convolution and BatchNormalization that scales its channels."""
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,16,8,8] x) => (float[a,b,c,d] y) '
        f"{{ h = Conv (x, {name})  y = BatchNormalization (h, gamma, beta, mean, var) }}"
    )
    model = onnx.parser.parse_model(text)
    zeros, ones = np.zeros_like(factor), np.ones_like(factor)
    values = {name: weight, "gamma": factor, "beta": zeros, "mean": zeros, "var": ones}
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in values.items())
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> onnxsqueeze.Result:
    return onnxsqueeze.compress(LENET, tmp_path_factory.mktemp("made") / "out.onnx", PASSES)


@pytest.fixture(scope="module")
def found(made: onnxsqueeze.Result) -> Comparison:
    return of_result(made)


def of_result(made: onnxsqueeze.Result) -> Comparison:
    found = of_files(made.source, made.output or "", made.verification, made.notes)
    return comparison.with_passes(found, made, "line")


def of_files(
    first: Path | str, second: Path | str, verification: Verification | None = None, notes: Sequence[str] = ()
) -> Comparison:
    before, after = stored.read(first), stored.read(second)
    return comparison.compare(before, after, layers.compare(before, after, Context()), verification, None, notes)


def test_changes_add_up_to_the_byte(made: onnxsqueeze.Result, found: Comparison) -> None:
    of_two = of_files(LENET, made.output or "")
    for one in (found, of_two):
        assert one.original.nbytes == LENET.stat().st_size
        assert one.compressed.nbytes == Path(made.output or "").stat().st_size == made.compressed_nbytes
        assert one.original.nbytes + sum(change.nbytes for change in one.changes) == one.compressed.nbytes
        assert one.ratio == approx(made.ratio)
    assert [change.label for change in found.changes] == [*PASSES.split(","), "graph, names and decode functions"]
    assert found.by_pass and not of_two.by_pass
    assert of_two.command == f"onnxsqueeze {LENET} {made.output} --passes '{PASSES}'"


def test_layers_are_as_they_lie_in_the_file(made: onnxsqueeze.Result, found: Comparison) -> None:
    packed = {w.name: w for w in made.weights}
    original = {t.name: numpy_helper.to_array(t) for t in onnx.load(LENET).graph.initializer}
    dense = stored.read(made.output or "").model
    after = {w.name: w.values() for w in dense.weights()}
    assert [layer.name for layer in found.layers] == [name for name in original if original[name].size >= 64]
    for layer in found.layers:
        assert layer.before is not None and layer.after is not None
        assert (layer.before.nbytes, layer.after.nbytes) == (
            packed[layer.name].dense_nbytes,
            packed[layer.name].nbytes,
        )
        assert layer.after.bits == approx(8 * packed[layer.name].nbytes / original[layer.name].size)
        assert layer.after.zeros == approx(float(np.mean(after[layer.name] == 0)))
        assert sum(layer.after.histogram) == np.count_nonzero(after[layer.name])
        assert sum(layer.before.histogram) == np.count_nonzero(original[layer.name])


def test_errors_leave_factors_of_channels_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((32, 16, 3, 3)).astype(np.float32)
    b = a + 0.1 * rng.standard_normal(a.shape).astype(np.float32)
    factor = rng.uniform(0.1, 10, 32).astype(np.float32)

    def error(second: np.ndarray) -> float | None:
        for name, weight in (("a", a), ("b", second)):
            onnx.save(conv_model(weight, np.ones(32, np.float32)), tmp_path / f"{name}.onnx")
        found = of_files(tmp_path / "a.onnx", tmp_path / "b.onnx")
        return next(layer.error for layer in found.layers if layer.name == "w")

    assert error(a) == 0
    assert error(a * factor[:, None, None, None]) == approx(0, abs=1e-6)
    pairs = [(x.astype(float).ravel(), y.astype(float).ravel()) for x, y in zip(a, b, strict=True)]
    distances = [np.linalg.norm(y - x * (x @ y) / (x @ x)) for x, y in pairs]
    assert error(b) == approx(np.linalg.norm(distances) / np.linalg.norm(b), rel=1e-5)
    assert error(np.zeros_like(a)) == 1
    assert error(np.full_like(a, np.nan)) is None


def test_folded_weights_are_told_apart_from_compressed_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, factor = rng.standard_normal((64, 16, 3, 3)), rng.uniform(0.1, 10, 64)
    onnx.save(conv_model(weight.astype(np.float32), factor.astype(np.float32)), tmp_path / "in.onnx")
    onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", "fold,share,huffman")
    found = {layer.name: layer for layer in of_files(tmp_path / "in.onnx", tmp_path / "out.onnx").layers}
    error = found["w"].error
    assert error is not None and 0 < error < 0.2
    assert all(layer.before and layer.before.nbytes == 256 for name, layer in found.items() if name in ("gamma", "var"))
    assert found["gamma"].after is None and found["var"].after is None


def test_weights_whose_names_changed_are_paired_in_order(tmp_path: Path) -> None:
    model = onnx.load(LENET)
    onnx.save(model, tmp_path / "a.onnx")
    names = {t.name: f"renamed.{i}" for i, t in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    onnx.save(model, tmp_path / "b.onnx")
    found = of_files(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert [layer.error for layer in found.layers] == [0.0] * 5
    assert all(layer.before and layer.after and layer.before.shape == layer.after.shape for layer in found.layers)


def test_histograms_show_values_where_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = np.where(rng.random((32, 16, 3, 3)) < 0.9, 0, rng.choice([-1.0, 0.5], (32, 16, 3, 3)))
    onnx.save(conv_model(weight.astype(np.float32), np.ones(32, np.float32)), tmp_path / "a.onnx")
    found = of_files(tmp_path / "a.onnx", tmp_path / "a.onnx")
    side = next(layer.before for layer in found.layers if layer.name == "w")
    assert side is not None and side.reach == 1.0
    filled = {i for i, count in enumerate(side.histogram) if count}
    assert filled == {0, layers.BINS * 3 // 4}
    assert side.zeros == approx(float(np.mean(weight == 0)))


@pytest.mark.parametrize("values", [np.zeros(100), np.full(100, np.inf), np.full(100, np.nan), np.full(100, 3e38)])
def test_odd_values_have_a_range(values: np.ndarray) -> None:
    flat = values.astype(np.float32)
    reach = layers._reach(flat, native.stats(flat))
    assert np.isfinite(reach) and reach > 0


def test_files_written_inline_say_so(tmp_path: Path) -> None:
    onnxsqueeze.compress(LENET, tmp_path / "out.onnx", PASSES, inline=True)
    found = of_files(LENET, tmp_path / "out.onnx")
    assert "--inline" in found.notes[0] and found.command.endswith("--inline")
    assert found.original.nbytes + sum(change.nbytes for change in found.changes) == found.compressed.nbytes


def test_what_could_not_be_made_smaller(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype(np.float32)
    graph = "g (float[1,8,4,4] x) => (float[1,8,4,4] y) { y = Conv (x, w) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}')
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "in.onnx")
    made = onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", "share{minimum=1}")
    assert made.copied
    found = of_result(made)
    assert found.ratio == 1 and sum(change.nbytes for change in found.changes) == 0
    assert "nothing could be saved" in found.notes[0] and found.command == "line"


def test_external_data_counts(tmp_path: Path) -> None:
    onnx.save_model(onnx.load(LENET), tmp_path / "in.onnx", save_as_external_data=True, location="in.data")
    onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / "out.onnx", PASSES)
    found = of_files(tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert found.original.nbytes == sum((tmp_path / name).stat().st_size for name in ("in.onnx", "in.data"))
    assert found.compressed.nbytes == sum(path.stat().st_size for path in tmp_path.glob("out.onnx*"))


def test_facts_are_json(found: Comparison) -> None:
    told = json.loads(json.dumps(plain(comparison.facts(found)), allow_nan=False))
    assert told["ratio"] == approx(found.ratio)
    assert told["layers"][0]["after"]["bits"] > 0
    assert {"original", "compressed", "layers", "changes", "verification", "notes", "command"} <= set(told)


def test_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    before, after = hostile.files(tmp_path)
    console = Console(file=io.StringIO(), width=200)
    found = of_files(before, after)
    terminal.show(found, console)
    inspect.show(inspect.listing(str(after)), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "[red]bold[/red]" in text and "\ufffd" in text
    assert not set("\x1b\x00\x07\u202e\r") & set(text)


@pytest.mark.parametrize(
    ("start", "end", "drawn"),
    [
        (0, 100, "█" * 8),
        (0, 50, "█" * 4),
        (100, 50, "    ████"),
        (0, 0, ""),
        (50, 56.25, "    ▌"),
        (100, 99.9, "       █"),
    ],
)
def test_bars_in_the_terminal(start: float, end: float, drawn: str) -> None:
    assert terminal.bar(start, end, 100, 8) == drawn
