"""Calibration samples: every form in which they come, how they are split, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxsqueeze.calibration.samples import read, split
from onnxsqueeze.errors import ModelError
from onnxsqueeze.verify import signature

ONE = "(float[n,3] x) => (float[n,3] y) { y = Relu(x) }"
TWO = "(float[n,3] x, int64[n] k) => (float[n,3] y) { c = Cast <to=1> (k)  u = Unsqueeze(c, a)  y = Add(x, u) }"


def model(text: str = ONE) -> onnx.ModelProto:
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    if text == TWO:
        made.graph.initializer.append(numpy_helper.from_array(np.array([1]), "a"))
    return made


def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


def test_a_batch_in_npz_is_cut_into_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=rows(5), k=np.arange(5))
    feeds = read(tmp_path / "s.npz", model(TWO))
    assert [feed["x"].shape for feed in feeds] == [(1, 3)] * 5
    assert np.concatenate([feed["k"] for feed in feeds]).tolist() == [0, 1, 2, 3, 4]


def test_folders_of_arrays_and_of_test_sets(tmp_path: Path) -> None:
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", rows(1) + number)
        folder = tmp_path / f"test_data_set_{number}"
        folder.mkdir()
        tensor = numpy_helper.from_array(rows(1) - number)
        (folder / "input_0.pb").write_bytes(tensor.SerializeToString())
    firsts = [float(feed["x"][0, 0]) for feed in read(tmp_path, model())]
    assert firsts == [0.0, 1.0, 0.0, -1.0]


FUNCTIONS = """
import numpy, sys
def some(): return [numpy.ones((1, 3), 'float32')] * 3
def batched(): return {'x': numpy.arange(15, dtype='float32').reshape(5, 3)}
def bad(): return 1 / 0
def nothing(): pass
def leaves(): sys.exit(3)
"""


def test_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_mine_made.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    assert len(read("of_mine_made:some", model())) == 3
    assert [feed["x"].shape for feed in read("of_mine_made:batched", model())] == [(1, 3)] * 5
    for text, words in (
        (":bad", "failed: ZeroDivisionError: division by zero"),
        (":none", "cannot be imported"),
        (":nothing", "returned None; it must return a dict of input names to arrays for each sample"),
        (":leaves", r"failed: it called sys.exit\(3\)"),
        (":", "cannot be imported: write module:function"),
    ):
        with pytest.raises(ModelError, match=words):
            read(f"of_mine_made{text}", model())
    with pytest.raises(ModelError, match=r"must return a dict of input names to arrays for each sample, .*: x, k"):
        read("of_mine_made:some", model(TWO))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": rows(2)}, "the model has no input 'z'; it takes: x, k"),
        ({"x": rows(3), "k": np.arange(2)}, "inputs differ in their numbers of samples: 3 for 'x', 2 for 'k'"),
    ],
)
def test_what_does_not_fit_is_refused(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=re.escape(words)):
        read(tmp_path / "s.npz", model(TWO))


def test_text_and_objects_are_refused_in_our_own_words(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}, 1], dtype=object))
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object))
    for name, words in (
        ("objects.npz", "holds Python objects"),
        ("objects.npy", "holds Python objects"),
        ("text.npz", "neither a .npz nor a .npy file"),
    ):
        for reads in (lambda path: read(path, model()), lambda path: signature.read(str(path))):
            with pytest.raises(ModelError, match=words) as refused:
                reads(tmp_path / name)
            assert "pickle" not in str(refused.value)


def test_one_array_without_a_name_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", rows(4))
    assert [feed["x"].shape for feed in read(tmp_path / "s.npy", model())] == [(1, 3)] * 4
    with pytest.raises(ModelError, match="holds one array, but the model takes 2 inputs"):
        read(tmp_path / "s.npy", model(TWO))


def test_corrupt_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match="cannot read calibration samples"):
        read(tmp_path / "s.npz", model())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no samples"):
        read(tmp_path / "empty", model())
    with pytest.raises(ModelError, match=r"no \.npz file, no folder and no module:function"):
        read(tmp_path / "nothing", model())


@pytest.mark.parametrize(("count", "held"), [(1, 1), (2, 1), (3, 1), (4, 1), (64, 16)])
def test_a_quarter_is_held_out_and_never_shared(count: int, held: int) -> None:
    feeds = [{"x": rows(1) + i} for i in range(count)]
    samples = split(feeds, "here")
    assert len(samples.held_out) == held
    assert len(samples.steering) == max(1, count - held)
    assert samples.overlap == (count == 1)
    shared = {id(f) for f in samples.steering} & {id(f) for f in samples.held_out}
    assert bool(shared) == samples.overlap
