"""Budgets from the command line: met or refused, with what was measured and on which samples told everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxsqueeze.cli import main
from onnxsqueeze.passes.grids import Grids

Array = np.ndarray[Any, Any]
Capture = pytest.CaptureFixture[str]

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,96] x) => (float[n,10] y) { h = MatMul(x, a)  r = Relu(h)  z = MatMul(r, b)  y = Softmax(z) }"""
SCORES = """
import numpy, onnxruntime

def runs(path, count):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"x": numpy.load("test.npz")["x"][:count]})[0].argmax(axis=1)

def accuracy(path):  # against labels
    return float((runs(path, 400) == numpy.load("test.npz")["labels"]).mean())

def intact(path):  # nothing may change
    import onnx
    from onnx import numpy_helper
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    originals = numpy.load("weights.npz").values()
    return float(all(any(numpy.array_equal(v, w) for w in weights.values()) for v in originals))

def broken(path):
    raise RuntimeError("no such\\ntest set")

def nothing(path):
    pass

def nan(path):
    return float("nan")

def zero(path):
    return 0

def below(path):
    return -0.5

def leaves(path):
    raise SystemExit(3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    model = parser.parse_model(MODEL)
    weights = {"a": (96, 128), "b": (128, 10)}
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    onnx.save(model, tmp_path / "in.onnx")
    mixed = (rng.standard_normal((464, 8)) @ rng.standard_normal((8, 96))).astype(np.float32)
    np.savez(tmp_path / "s.npz", x=mixed[:64])
    scores = np.maximum(mixed[64:] @ values["a"], 0) @ values["b"]
    labels = scores.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 10  # the original is right in 90 %
    np.savez(tmp_path / "test.npz", x=mixed[64:], labels=labels)
    np.savez(tmp_path / "weights.npz", **values)
    (tmp_path / "my_task.py").write_text(SCORES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: Capture, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["in.onnx", "out.onnx", "--json", *arguments]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def refused(capsys: Capture, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["in.onnx", "out.onnx", *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert not Path("out.onnx").exists()
    return error


def samples_in(form: str) -> str:
    """The same 64 samples, in another form."""
    rows = np.load("s.npz")["x"]
    if form == "module:function":
        Path("my_samples.py").write_text(
            "import numpy\ndef all(): return ({'x': r[None]} for r in numpy.load('s.npz')['x'])\n"
        )
        return "my_samples:all"
    Path(form).mkdir()
    for number, row in enumerate(rows[:, None]):
        if form == "npz":
            np.savez(f"{form}/{number:02}.npz", x=row)
        elif form == "npy":
            np.save(f"{form}/{number:02}.npy", row)
        else:
            Path(f"{form}/{number:02}").mkdir()
            Path(f"{form}/{number:02}/input_0.pb").write_bytes(numpy_helper.from_array(row).SerializeToString())
    return form


@pytest.mark.parametrize("form", ["npz", "npy", "pb", "module:function"])
def test_samples_of_every_form_give_the_same_bytes(folder: Path, capsys: Capture, form: str) -> None:
    told(capsys, "--calibration", "s.npz", "--target-ratio", "8")
    expected = Path("out.onnx").read_bytes()
    source = samples_in(form)
    facts = told(capsys, "--calibration", source, "--target-ratio", "8")
    assert Path("out.onnx").read_bytes() == expected
    assert facts["verification"]["inputs"] == f"{source}: 16 of 64 samples, held out"


def test_the_split_and_the_losses_are_told(folder: Path, capsys: Capture) -> None:
    arguments = ("--calibration", "s.npz", "--max-loss", "3%")
    facts = told(capsys, *arguments)
    account = facts["account"]
    assert (account["fitted"], account["steering"], account["held_out"]) == (32, 16, 16)
    (held,) = account["held_out_loss"]
    assert (held["output"], held["kind"], held["count"]) == ("y", "decisions", 16)
    assert held["measured"] <= 0.03
    assert any("16 decisions are judged of 'y'" in note and "; 136 samples" in note for note in facts["notes"])
    assert main(["in.onnx", "out.onnx", *arguments, "--report", "r.html"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "32 samples fitted to, 16 that steered, 16 held out" in text and "decisions changed" in text
    assert "s.npz: 16 of 64 samples, held out" in Path("r.html").read_text()


FEW = [
    (1, "the one sample, which the passes have seen", "nothing is changed: 1 sample is too few to tell"),
    (2, "1 sample fitted to, the same steered, 1 held out", "2 samples are too few to tell"),
    (3, "2 samples fitted to, the same steered, 1 held out", "3 samples are too few to tell"),
    (4, "2 samples fitted to, 1 that steered, 1 held out", "3 % of that is less than one, so that not one may change"),
]


@pytest.mark.parametrize(("number", "split", "note"), FEW)
def test_too_few_samples_are_told_of(folder: Path, capsys: Capture, number: int, split: str, note: str) -> None:
    np.savez("few.npz", x=np.load("s.npz")["x"][:number])
    assert main(["in.onnx", "out.onnx", "--calibration", "few.npz", "--max-loss", "3%"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert split in text and note in text


def test_samples_that_are_all_the_same_are_told_of(folder: Path, capsys: Capture) -> None:
    np.savez("same.npz", x=np.zeros((16, 96), np.float32))
    notes = told(capsys, "--calibration", "same.npz", "--max-loss", "3%")["notes"]
    assert any("nothing is changed: 16 samples, all the same, are too few to tell" in note for note in notes)
    arguments = ("in.onnx", "out.onnx", "--calibration", "same.npz", "--target-ratio", "8")
    assert main(list(arguments)) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "16 samples, all the same, are too few to tell" in text
    np.savez("same.npz", x=np.zeros((1, 96), np.float32))
    assert main(list(arguments)) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 sample fitted to, the same steered, none held out" in text


def test_the_tasks_own_score_decides(folder: Path, capsys: Capture) -> None:
    facts = told(capsys, "--calibration", "s.npz", "--max-loss", "2%", "--score", "my_task:accuracy")
    score = next(o for o in facts["account"]["steering_loss"] if o["kind"] == "score")
    assert 0 <= score["measured"] <= 0.02 and facts["ratio"] > 3
    assert any("the scoring function ran" in note and "times, " in note for note in facts["notes"])
    import my_task  # type: ignore[import-not-found]

    before, after = my_task.accuracy("in.onnx"), my_task.accuracy("out.onnx")
    assert before == pytest.approx(0.9) and after >= 0.98 * before


def test_a_model_that_bears_nothing_is_copied(folder: Path, capsys: Capture) -> None:
    arguments = ("--calibration", "s.npz", "--max-loss", "1%", "--score", "my_task:intact")
    facts = told(capsys, *arguments, "--report", "r.html")
    notes = " ".join(facts["notes"])
    assert "no grid of any weight holds the loss within 1 %" in notes
    held = facts["account"]["held_out_loss"][0]
    assert held["measured"] == 0 and facts["verification"]["outputs"][0]["exact"]
    if facts["copied"]:
        assert Path("out.onnx").read_bytes() == Path("in.onnx").read_bytes()
    assert facts["compressed_nbytes"] <= facts["original_nbytes"]
    assert "no grid of any weight holds the loss within 1 %" in Path("r.html").read_text()
    assert main(["in.onnx", "out.onnx", *arguments]) == 0
    assert "no grid of any weight holds the loss within 1 %" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("share", [0.2, 0.1, 0.05])
def test_a_size_is_met_within_one_per_cent(folder: Path, capsys: Capture, share: float) -> None:
    """Of a file in which the functions that decode, whose number jumps, weigh little."""
    rng = np.random.default_rng(1)
    model = parser.parse_model(MODEL.replace("128", "1024"))
    for name, shape in (("a", (96, 1024)), ("b", (1024, 10))):
        values = (rng.standard_normal(shape) / 8).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, "in.onnx")
    size = int(share * Path("in.onnx").stat().st_size)
    facts = told(capsys, "--calibration", "s.npz", "--target-size", str(size))
    stamp = 64  # bytes that are set aside for the text of a longer pipeline
    assert 0.99 * size - stamp <= Path("out.onnx").stat().st_size == facts["compressed_nbytes"] <= size


def test_a_size_out_of_reach_is_refused_with_the_smallest(folder: Path, capsys: Capture) -> None:
    error = refused(capsys, "--calibration", "s.npz", "--target-size", "300")
    smallest = int(error.split("the smallest reachable is ")[1].replace(",", "").split()[0])
    facts = told(capsys, "--calibration", "s.npz", "--target-size", str(int(1.05 * smallest)))
    assert facts["compressed_nbytes"] <= 1.05 * smallest


def test_targets_of_devices(folder: Path, capsys: Capture) -> None:
    facts = told(capsys, "--calibration", "s.npz", "--target-macs", "60%")
    prediction = facts["account"]["prediction"]
    assert prediction["quantity"] == "macs" and prediction["after"] <= 0.6 * prediction["before"]
    assert facts["account"]["held_out"] == 16 and facts["account"]["held_out_loss"][0]["output"] == "y"
    assert main(["in.onnx", "out.onnx", "--target-energy", "1J", "--device", "mobile-soc"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Predicted for a run on mobile-soc" in text and "no real data" in text
    Path("out.onnx").unlink()
    assert "the least reachable is" in refused(capsys, "--target-latency", "1ns")
    assert "unknown device 'phone'" in refused(capsys, "--target-latency", "1s", "--device", "phone")
    assert "must be a time such as 5ms" in refused_usage(capsys, "--target-latency", "5mJ")
    assert "a device goes with" in refused(capsys, "--max-loss", "1%", "--device", "eie")
    assert "--device is what" in refused(capsys, "--device", "eie")


def refused_usage(capsys: Capture, *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["in.onnx", "out.onnx", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_negative_loss_is_refused_with_a_way_to_write_it(folder: Path, capsys: Capture) -> None:
    assert "write --max-loss=VALUE for one that begins with '-'" in refused_usage(capsys, "--max-loss", "-1%")
    assert "must be a share above 0 and below 1" in refused_usage(capsys, "--max-loss=-1%")


WRONG: list[tuple[dict[str, Array], str]] = [
    ({"z": np.zeros((4, 96), np.float32)}, "the model has no input 'z'"),
    ({"x": np.zeros((4, 95), np.float32)}, "input 'x' must have shape"),
    ({"x": np.zeros((4, 96))}, "input 'x' must be float32, not float64"),
    ({"x": np.zeros((0, 96), np.float32)}, "sample 1 is empty"),
    ({"x": np.full((4, 96), np.nan, np.float32)}, "input 'x' of sample 1 holds NaN"),
    ({}, "no array for input 'x'"),
]


@pytest.mark.parametrize(("arrays", "words"), WRONG)
@pytest.mark.parametrize("command", ["compress", "sensitivity"])
def test_wrong_samples(folder: Path, capsys: Capture, arrays: dict[str, Array], words: str, command: str) -> None:
    np.savez("wrong.npz", **arrays)  # type: ignore[arg-type]
    if command == "compress":
        assert words in refused(capsys, "--calibration", "wrong.npz", "--max-loss", "1%")
        return
    assert main(["sensitivity", "in.onnx", "--calibration", "wrong.npz"]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("my_task:broken", "the scoring function failed: RuntimeError: no such"),
        ("my_task:nothing", "the scoring function gave None; it must give a number"),
        ("my_task:nan", "the scoring function gave nan"),
        ("my_task:zero", "the scoring function gave 0 for the original model, of which no share can be lost"),
        ("my_task:below", "the scoring function gave -0.5 for the original model"),
        ("my_task:leaves", "the scoring function failed: it called sys.exit(3)"),
        ("my_task:missing", "score 'my_task:missing' cannot be imported"),
        ("nowhere", "score 'nowhere' cannot be imported: write module:function"),
        ("my_task:", "score 'my_task:' cannot be imported: write module:function"),
    ],
)
def test_wrong_scores(folder: Path, capsys: Capture, score: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grids, "tables", lambda self: pytest.fail("this is known before any work is done"))
    assert words in refused(capsys, "--calibration", "s.npz", "--max-loss", "1%", "--score", score)
    assert main(["sensitivity", "in.onnx", "--score", score]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
