"""Files that a release wrote: today's code reads them bit for bit, writes the same, refuses the bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from make_golden import BAD, FOLDER, NOTES, encode
from onnx import numpy_helper

from onnxsqueeze.encode import Encoded, reference
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.nodes import from_node, to_node
from onnxsqueeze.errors import FormatError
from onnxsqueeze.pipeline.unpack import unpack_file

golden = pytest.mark.parametrize("name", NOTES)

# The layouts that the good files hold; a file that changes sides is no longer what it was made for.
OPERATORS = {
    "fill": "Fill",
    "dense_packed": "Dense_P3_T",
    "dense_huffman": "Dense_H",
    "dense_scaled_half": "Dense_H",
    "dense_double": "Dense_H",
    "gaps_raw": "Gaps_P",
    "gaps_huffman": "Gaps_H",
    "nm_raw": "NM_P2_Raw32",
    "nm_shared": "NM_P2_",
}


def stored(name: str) -> tuple[onnx.ModelProto, np.ndarray]:
    return onnx.load(FOLDER / "good" / f"{name}.onnx"), np.load(FOLDER / "good" / f"{name}.npy")


def read(model: onnx.ModelProto) -> Encoded:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return from_node(model.graph.node[0], arrays.get)


@golden
def test_good_files_decode_as_they_did(name: str) -> None:
    model, dense = stored(name)
    encoded = read(model)
    assert encoded.op_type.startswith(OPERATORS[name])
    for decoder in (decode, reference.decode):
        found = decoder(encoded)
        assert (found.dtype, found.shape, found.tobytes()) == (dense.dtype, dense.shape, dense.tobytes())


@golden
def test_good_files_run_by_their_own_bodies(name: str) -> None:
    model, dense = stored(name)
    onnx.checker.check_model(model, full_check=True)
    (output,) = ort.InferenceSession(model.SerializeToString()).run(None, {})
    assert output.tobytes() == dense.tobytes()


@golden
def test_good_files_unpack(name: str, tmp_path: Path) -> None:
    unpack_file(FOLDER / "good" / f"{name}.onnx", tmp_path / "dense.onnx")
    unpacked = onnx.load(tmp_path / "dense.onnx")
    assert not unpacked.functions and [o.domain for o in unpacked.opset_import] == [""]
    (tensor,) = unpacked.graph.initializer
    assert numpy_helper.to_array(tensor).tobytes() == stored(name)[1].tobytes()


@golden
def test_encoding_gives_the_same_bytes(name: str) -> None:
    """Bodies may improve; nodes and tensors may change only on purpose, see make_golden.py."""
    model, dense = stored(name)
    node, tensors = to_node(encode(name, dense), "weight", "0.")
    assert node.SerializeToString(deterministic=True) == model.graph.node[0].SerializeToString(deterministic=True)
    assert [t.SerializeToString() for t in tensors] == [t.SerializeToString() for t in model.graph.initializer]


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_words(name: str, tmp_path: Path) -> None:
    words = BAD[name][2]
    with pytest.raises(FormatError, match=words):
        unpack_file(FOLDER / "bad" / f"{name}.onnx", tmp_path / "dense.onnx")
    assert not list(tmp_path.iterdir())
