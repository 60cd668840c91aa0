"""An update is never larger than the smaller of bsdiff4's and zstd's by more than 1 %, and a header."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import bsdiff4
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pairs import LENET, compressed, grown, renamed, retrained, saved, small

from onnxsqueeze.ota import apply, diff
from onnxsqueeze.ota.zstd import compress

HEADER = 80  # bytes of an update that are not coded: hashes, lengths


def peers(old: Path, new: Path, folder: Path) -> int:
    """Bytes of the smaller one."""
    found = [len(bsdiff4.diff(old.read_bytes(), new.read_bytes())), len(compress(new.read_bytes(), old.read_bytes()))]
    if program := shutil.which("zstd"):
        out = folder / "patch.zst"
        command = [program, "-qf", "-19", "--long=27", f"--patch-from={old}", str(new), "-o", str(out)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        found.append(out.stat().st_size)
    return min(found)


def shuffled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Tensors and nodes under other names, tensors in another order."""
    made = renamed(model)
    tensors = list(made.graph.initializer)[::-1]
    del made.graph.initializer[:]
    made.graph.initializer.extend(tensors)
    for number, node in enumerate(made.graph.node):
        node.name = f"other_{number}"
    return made


def cut(model: onnx.ModelProto) -> onnx.ModelProto:
    """The largest tensor's rows moved by seven, as when a class is put before the others."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    largest = max(made.graph.initializer, key=lambda t: len(t.raw_data))
    rolled = np.roll(numpy_helper.to_array(largest), 7 * 13 + 1)
    largest.CopyFrom(numpy_helper.from_array(rolled, largest.name))
    return made


def with_blob(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Bytes that are no model, inside of a string, partly moved."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    blob = np.random.default_rng(0).integers(1, 128, 50_000, np.uint8)
    blob = np.roll(blob, 1000 * seed)
    blob[:: 97 + seed] ^= seed & 1
    helper.set_model_props(made, {"vocabulary": blob.tobytes().decode()})
    return made


def table(seed: int) -> onnx.ModelProto:
    """A table of strings, which no coder of tensors takes."""
    words = [f"word{i * i % 9973}".encode() for i in range(3000)]
    words = words[seed * 500 :] + words[: seed * 500]
    tensor = helper.make_tensor("words", TensorProto.STRING, [len(words)], words)
    info = helper.make_tensor_value_info("y", TensorProto.STRING, [len(words)])
    node = helper.make_node("Identity", ["words"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [], [info], [tensor]), ir_version=8)


def tiny(value: float) -> onnx.ModelProto:
    info = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Constant", [], ["y"], value_floats=[value])
    return helper.make_model(helper.make_graph([node], "g", [], [info]), ir_version=8)


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in another type."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    return made


def lenet() -> onnx.ModelProto:
    return onnx.load(LENET)


PAIRS: dict[str, Callable[[], tuple[onnx.ModelProto, onnx.ModelProto]]] = {
    "equal": lambda: (lenet(), lenet()),
    "shuffled": lambda: (lenet(), shuffled(lenet())),
    "shuffled and retrained": lambda: (small(), shuffled(retrained(small()))),
    "cut": lambda: (lenet(), cut(lenet())),
    "half": lambda: (half(small()), half(cut(small()))),
    "strings in metadata": lambda: (with_blob(small(), 0), with_blob(small(), 3)),
    "strings": lambda: (table(0), table(2)),
    "tiny": lambda: (tiny(1.0), tiny(2.0)),
    "tiny to small": lambda: (tiny(1.0), small()),
    "small to tiny": lambda: (small(), tiny(1.0)),
    "unrelated": lambda: (small(), retrained(small(), 100.0)),
    "grown": lambda: (lenet(), grown(lenet())),
}


def check(old: Path, new: Path, folder: Path) -> None:
    made = diff(old, new, folder / "u.osq")
    apply(old, folder / "u.osq", folder / "restored.onnx")
    assert (folder / "restored.onnx").read_bytes() == new.read_bytes()
    best = peers(old, new, folder)
    assert made.nbytes <= 1.01 * best + HEADER, f"{made.nbytes} bytes against {best}"


@pytest.mark.parametrize("pair", PAIRS)
def test_dense(pair: str, tmp_path: Path) -> None:
    first, second = PAIRS[pair]()
    check(saved(first, tmp_path / "old.onnx"), saved(second, tmp_path / "new.onnx"), tmp_path)


@pytest.mark.parametrize("pair", ["shuffled", "cut"])
def test_compressed(pair: str, tmp_path: Path) -> None:
    first, second = PAIRS[pair]()
    check(compressed(first, tmp_path / "old.onnx"), compressed(second, tmp_path / "new.onnx"), tmp_path)
