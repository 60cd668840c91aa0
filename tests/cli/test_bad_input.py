"""Bad input of every kind: one line, the right exit code, and no file written or changed."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_models import gaussian, model_with

from onnxsqueeze.cli import main
from onnxsqueeze.errors import SqueezeError
from onnxsqueeze.model import Model

Capture = pytest.CaptureFixture[str]


def write_bad_files() -> None:
    """Every kind of file that must be refused, in the current folder."""
    data = Path("in.onnx").read_bytes()
    Path("text.onnx").write_text("hello\n")
    Path("empty.onnx").touch()
    Path("short.onnx").write_bytes(data[:100_000])
    Path("random.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
    Path("folder.onnx").mkdir()
    Path("link.onnx").symlink_to("in.onnx")
    os.link("in.onnx", "hard.onnx")
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(model_with(gaussian(2, 8), [matmul]), "small.onnx")
    onnx.save(model_with(gaussian(8, 64), [helper.make_node("MatMul", ["x", "nowhere"], ["y"])]), "invalid.onnx")
    for name, location in (("missing", "gone.bin"), ("escaping", "../gone.bin"), ("absolute", "/etc/passwd")):
        model = model_with(gaussian(8, 64), [matmul])
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        Path(f"{name}.onnx").write_bytes(model.SerializeToString())
    old = model_with(gaussian(8, 64), [matmul])
    old.graph.input[0].type.ClearField("value")
    onnx.save(old, "untyped.onnx")
    onnx.save(model_with(gaussian(8, 64), [helper.make_node("Mutmal", ["x", "w"], ["y"])]), "unknown.onnx")
    write_bad_inputs(data)


def write_bad_inputs(data: bytes) -> None:
    """Every kind of input file that must be refused."""
    image = np.zeros((1, 1, 28, 28), np.float32)
    Path("bad.npz").write_bytes(b"not a zip file")
    np.savez("cut.npz", image=image)
    Path("cut.npz").write_bytes(Path("cut.npz").read_bytes()[:200])
    np.save("single.npz", image)
    Path("single.npz.npy").rename("single.npz")
    np.savez("pickled.npz", image=np.array([{}], object))
    np.savez("wrong.npz", other=np.zeros(3))
    np.savez("close.npz", imag=image)
    np.savez("none.npz")
    np.savez("double.npz", image=image.astype(np.float64))
    np.savez("flat.npz", image=image.reshape(1, 784))
    np.savez("wide.npz", image=np.zeros((1, 1, 28, 29), np.float32))


BAD = [
    (["text.onnx", "o.onnx"], 1, "is text, not a binary ONNX model"),
    (["empty.onnx", "o.onnx"], 1, "is empty"),
    (["short.onnx", "o.onnx"], 1, "cut short"),
    (["random.onnx", "o.onnx"], 1, "not an ONNX model"),
    (["folder.onnx", "o.onnx"], 1, "is a folder"),
    (["none.onnx", "o.onnx"], 1, "does not exist"),
    (["invalid.onnx", "o.onnx"], 1, "not output of any previous nodes"),
    (["untyped.onnx", "o.onnx"], 1, "not valid ONNX"),
    (["unknown.onnx", "o.onnx"], 1, "Mutmal"),
    (["small.onnx", "o.onnx"], 1, "nothing to compress"),
    (["missing.onnx", "o.onnx"], 1, "'gone.bin' of tensor 'w' is missing"),
    (["escaping.onnx", "o.onnx"], 1, "leaves the model's folder"),
    (["absolute.onnx", "o.onnx"], 1, "must be a path relative"),
    (["in.onnx", "in.onnx"], 1, "is the input itself"),
    (["in.onnx", "link.onnx"], 1, "is the input itself"),
    (["in.onnx", "hard.onnx"], 1, "is the input itself"),
    (["in.onnx", "folder.onnx"], 1, "is a folder"),
    (["in.onnx", "nowhere/o.onnx"], 1, "create it first"),
    (["in.onnx", "o.bin"], 1, "must end in .onnx"),
    (["in.onnx", "o.onnx", "--inputs", "bad.npz"], 1, "cannot read inputs from 'bad.npz'"),
    (["in.onnx", "o.onnx", "--inputs", "gone.npz"], 1, "No such file"),
    (["in.onnx", "o.onnx", "--inputs", "cut.npz"], 1, "cannot read inputs"),
    (["in.onnx", "o.onnx", "--inputs", "single.npz"], 1, "one array without a name"),
    (["in.onnx", "o.onnx", "--inputs", "pickled.npz"], 1, "cannot read inputs"),
    (["in.onnx", "o.onnx", "--inputs", "folder.onnx"], 1, "cannot read inputs"),
    (["in.onnx", "o.onnx", "--inputs", "wrong.npz"], 1, "has no input 'other'"),
    (["in.onnx", "o.onnx", "--inputs", "close.npz"], 1, "did you mean 'image'?"),
    (["in.onnx", "o.onnx", "--inputs", "none.npz"], 1, "there is no array for input 'image'"),
    (["in.onnx", "o.onnx", "--inputs", "double.npz"], 1, "must be float32, not float64"),
    (["in.onnx", "o.onnx", "--inputs", "flat.npz"], 1, "must have shape [n, 1, 28, 28], not [1, 784]"),
    (["in.onnx", "o.onnx", "--inputs", "wide.npz"], 1, "not [1, 1, 28, 29]"),
    (["verify", "in.onnx", "hard.onnx", "--inputs", "flat.npz"], 1, "must have shape"),
    (["in.onnx", "o.onnx", "--passes", "prnue"], 2, "unknown pass 'prnue'; did you mean 'prune'?"),
    (["in.onnx", "o.onnx", "--passes", "prune{sparsty=1}"], 2, "did you mean 'sparsity'?"),
    (["in.onnx", "o.onnx", "--passes", "prune{sparsity=1.5}"], 2, "between 0 and 1"),
    (["in.onnx", "o.onnx", "--passes", "share{bits=9}"], 2, "between 1 and 8"),
    (["in.onnx", "o.onnx", "--passes", "share{bits=two}"], 2, "not a value of type int"),
    (["in.onnx", "o.onnx", "--passes", "prune{granularity=4:2}"], 2, "granularity 4:2"),
    (["in.onnx", "o.onnx", "--passes", ""], 2, "name at least one pass"),
    (["zoo:ppocr-rek", "o.onnx"], 1, "ppocr-rec"),
    (["zoo", "ppocr-rek"], 1, "did you mean 'ppocr-rec'?"),
    (["inspect", "zoo:ppocr-rek"], 1, "did you mean 'ppocr-rec'?"),
    (["unpack", "in.onnx", "o.onnx"], 1, "nothing to unpack"),
    (["unpack", "in.onnx", "hard.onnx"], 1, "is the input itself"),
    (["unpack", "none.onnx", "o.onnx"], 1, "does not exist"),
    (["unpack", "in.onnx", "o.bin"], 1, "must end in .onnx"),
    (["verify", "in.onnx", "text.onnx"], 1, "is text"),
    (["verify", "in.onnx", "small.onnx"], 1, "differ in the names or types"),
    (["in.onnx", "/proc/o.onnx"], 1, "cannot be written"),
    (["in.onnx", "/dev/null"], 1, "must end in .onnx"),
    (["inspect", "text.onnx"], 1, "is text"),
    (["report", "in.onnx", "text.onnx", "--html", "r.html"], 1, "is text"),
    (["report", "none.onnx", "hard.onnx", "--html", "r.html"], 1, "does not exist"),
    (["report", "in.onnx", "small.onnx", "--html", "r.html"], 1, "differ in the names or types"),
    (["report", "in.onnx", "hard.onnx", "--html", "r.txt"], 1, "must end in .html"),
    (["report", "in.onnx", "hard.onnx", "--html", "nowhere/r.html"], 1, "create it first"),
    (["report", "in.onnx", "hard.onnx", "--html", "/proc/r.html"], 1, "cannot be written"),
    (["report", "in.onnx", "hard.onnx", "--markdown", "r.html"], 1, "must end in .md"),
    (["report", "in.onnx", "hard.onnx", "--inputs", "flat.npz", "--html", "r.html"], 1, "must have shape"),
    (["in.onnx", "o.onnx", "--report", "r.onnx"], 1, "must end in .html"),
    (["in.onnx", "o.onnx", "--report", "nowhere/r.html"], 1, "create it first"),
    (["sweep", "in.onnx", "--passes", "share{bits=8..3}"], 2, "must rise"),
    (["sweep", "in.onnx", "--passes", "prnue"], 2, "did you mean 'prune'?"),
    (["sweep", "in.onnx", "--passes", "share{bits=1..9}"], 2, "between 1 and 8"),
    (["sweep", "text.onnx", "--passes", "share{bits=2}", "--out-dir", "front"], 1, "is text"),
    (["sweep", "small.onnx", "--passes", "share{bits=2}"], 1, "nothing to compress"),
    (["sweep", "in.onnx", "--passes", "share{bits=2}", "--out-dir", "text.onnx"], 1, "cannot be used as a folder"),
    (["sweep", "in.onnx", "--passes", "share{bits=2}", "--out-dir", "nowhere/front"], 1, "create it first"),
    (["sweep", "in.onnx", "--passes", "share{bits=2}", "--inputs", "flat.npz"], 1, "must have shape"),
    (["sweep", "in.onnx", "--passes", "share{bits=2}", "--html", "nowhere/s.html"], 1, "create it first"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input_gives_one_line_and_no_file(
    folder: Path, capsys: Capture, arguments: list[str], code: int, words: str
) -> None:
    write_bad_files()
    before = {p.name for p in folder.iterdir()}
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("onnxsqueeze: ") and printed.err.count("\n") == 1
    assert words in printed.err
    assert {p.name for p in folder.iterdir()} == before


USAGE = [
    ([], "the following arguments are required: IN, OUT"),
    (["in.onnx"], "the following arguments are required: OUT"),
    (["in.onnx", "o.onnx", "--pases", "x"], "unrecognized arguments: --pases"),
    (["in.onnx", "o.onnx", "--jobs", "0"], "whole number of at least 1, not '0'"),
    (["in.onnx", "o.onnx", "--seed", "-1"], "whole number of at least 0"),
    (["in.onnx", "o.onnx", "--seed", "x"], "whole number of at least 0, not 'x'"),
    (["verify", "in.onnx"], "the following arguments are required: B"),
    (["unpack", "a", "b", "c"], "unrecognized arguments: c"),
    (["report", "in.onnx"], "the following arguments are required: COMPRESSED"),
    (["sweep", "in.onnx"], "the following arguments are required: --passes"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_wrong_usage_gives_one_line(folder: Path, capsys: Capture, arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("onnxsqueeze: ") and printed.err.count("\n") == 1
    assert words in printed.err and "--help" in printed.err


def test_the_old_output_survives_every_refusal(folder: Path, capsys: Capture) -> None:
    write_bad_files()
    old = Path("o.onnx")
    old.write_bytes(b"old")
    for arguments, code, _ in BAD:
        assert main(arguments) == code
    assert old.read_bytes() == b"old"


def test_data_of_the_input_is_not_replaced(folder: Path, capsys: Capture) -> None:
    onnx.save(onnx.load("in.onnx"), "a.onnx", save_as_external_data=True, location="o.onnx.data", size_threshold=64)
    before = Path("o.onnx.data").read_bytes()
    assert main(["a.onnx", "o.onnx"]) == 1
    assert "o.onnx.data', a part of the input" in capsys.readouterr().err
    assert Path("o.onnx.data").read_bytes() == before


def test_a_write_protected_output_is_refused(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("o.onnx").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who is not root
    assert main(["in.onnx", "o.onnx"]) == 1
    assert "'o.onnx' is there and is write-protected" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_takes_no_files_is_refused(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object, **options: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert main(["in.onnx", "o.onnx"]) == 1
    assert capsys.readouterr().err == f"onnxsqueeze: output 'o.onnx' cannot be written: {os.strerror(number)}\n"


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_full_disk_leaves_the_old_file(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    Path("o.onnx").write_bytes(b"old")
    onnx.save(onnx.load("in.onnx"), "a.onnx", save_as_external_data=True, location="a.data", size_threshold=64)
    syncs = []

    def full(handle: int) -> None:
        syncs.append(handle)
        if len(syncs) == when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code = main(["a.onnx", "o.onnx", "--quiet"])
    if when <= 2:  # model and data; the third is that of the folder, after the renames, which may fail
        assert code == 1
        assert capsys.readouterr().err == "onnxsqueeze: output 'o.onnx' cannot be written: No space left on device\n"
        assert Path("o.onnx").read_bytes() == b"old"
    else:
        assert code == 0
    assert not list(folder.glob(".*"))


def test_debug_shows_the_traceback(folder: Path) -> None:
    with pytest.raises(SqueezeError):
        main(["gone.onnx", "o.onnx", "--debug"])


def test_the_unexpected_is_one_line_too(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise KeyError("some\nthing")

    monkeypatch.setattr(Model, "load", fail)
    assert main(["in.onnx", "o.onnx"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("onnxsqueeze: unexpected KeyError") and printed.count("\n") == 1


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_read_or_refused(folder: Path, capsys: Capture, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = model_with(gaussian(16, 32), [helper.make_node("MatMul", ["x", "w"], ["y"], name="node")])
    data = model.SerializeToString()
    for _ in range(30):
        damaged = bytearray(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
        for _ in range(rng.integers(0, 4)):
            place = int(rng.integers(-150, 60)) % len(damaged)
            damaged[place] = rng.integers(256)
        Path("damaged.onnx").write_bytes(damaged)
        code = main(["damaged.onnx", "o.onnx", "--quiet"])
        printed = capsys.readouterr().err
        assert code in (0, 1) and printed.count("\n") == code
        assert "unexpected" not in printed, printed
