"""What is refused when a model is loaded, in which words, and how the rest is normalised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnxsqueeze.errors import ModelError
from onnxsqueeze.model import Model


def dense(rows: int = 16, opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    """One MatMul with a weight of ``rows`` x 8."""
    weight = np.arange(rows * 8, dtype=np.float32).reshape(rows, 8)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    return model


def external(folder: Path, **changes: str) -> Path:
    """The same with its weight in weights.bin, the fields of external_data changed as asked."""
    model = dense()
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(folder / "m.onnx", load_external_data=False)
    tensor = model.graph.initializer[0]
    for entry in tensor.external_data:
        entry.value = changes.get(entry.key, entry.value)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<ir_version: 8>", "is text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\xff\xfe\x00garbage", "not an ONNX model"),
        (dense().SerializeToString()[:-40], "cut short"),
        (onnx.ModelProto(ir_version=8).SerializeToString() + b"", "has no graph"),
        (onnx.TensorProto(name="t", raw_data=b"1234").SerializeToString(), "ONNX"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        Model.load(path)
    assert "bad.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        Model.load(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        Model.load(tmp_path / "none.onnx")


def test_invalid_graph_names_the_node() -> None:
    model = dense()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ModelError, match="nowhere"):
        Model.load(model)


def test_future_opset() -> None:
    with pytest.raises(ModelError, match="opset 999"):
        Model.load(dense(opset=999))


def test_too_few_bytes_name_the_tensor() -> None:
    model = dense()
    model.graph.initializer[0].raw_data = b"1234"
    with pytest.raises(ModelError, match="'w' needs 512 bytes"):
        Model.load(model)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"location": "/etc/passwd"}, "relative"),
        ({"location": "../weights.bin"}, "leaves"),
        ({"location": "a/../../weights.bin"}, "leaves"),
        ({"location": "none.bin"}, "missing"),
        ({"location": ""}, "relative"),
        ({"offset": "100"}, "ends before"),
        ({"offset": "-4"}, "negative"),
        ({"offset": "x"}, "no number"),
        ({"length": "8"}, "needs 512 bytes"),
    ],
)
def test_external_data_out_of_place(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(512))
    path = external(inner, **changes)
    with pytest.raises(ModelError, match=words) as caught:
        Model.load(path)
    assert "'w'" in str(caught.value)


def test_external_data_behind_a_link_out_of_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = external(inner)
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    (inner / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(ModelError, match="leaves"):
        Model.load(path)


def test_unknown_domains_are_no_error() -> None:
    model = dense()
    model.opset_import.add(domain="com.example", version=1)
    model.graph.node.append(helper.make_node("Odd", ["y"], ["z"], domain="com.example"))
    assert len(Model.load(model).weights()) == 1


def test_ir_3_lists_no_initializers_as_inputs_any_more() -> None:
    model = dense(opset=8, ir=3)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [16, 8]))
    loaded = Model.load(model)
    assert [value.name for value in loaded.proto.graph.input] == ["x"]
    assert loaded.proto.ir_version >= 4
    assert len(model.graph.input) == 2  # the caller's model is not touched
    onnx.checker.check_model(loaded.proto)


def test_functions_with_weights_are_inlined_and_others_stay() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "my" : 1]>
        g (float[N, 2] x) => (float[N, 2] y) { a = my.heavy(x)  y = my.light(a) }
        <domain: "my", opset_import: ["" : 17]> light (a) => (b) { b = Relu(a) }
        <domain: "my", opset_import: ["" : 17]> heavy (a) => (b) { w = Constant() b = Add(a, w) }
    """)
    value = numpy_helper.from_array(np.ones((64, 2), np.float32))
    model.functions[1].node[0].attribute.append(helper.make_attribute("value", value))
    loaded = Model.load(model)
    assert [function.name for function in loaded.proto.functions] == ["light"]
    assert len(loaded.weights()) == 1
    x = np.full((64, 2), 2, np.float32)
    outputs = [
        ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0] for proto in (model, loaded.proto)
    ]
    assert np.array_equal(*outputs)


def test_long_lists_of_floats_become_tensors() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]> g (float[64] x) => (float[64] y) { y = Add(x, c) }
    """)
    constant = helper.make_node("Constant", [], ["c"], value_floats=[float(i) for i in range(64)])
    model.graph.node.insert(0, constant)
    (weight,) = Model.load(model).weights()
    assert np.array_equal(weight.values(), np.arange(64, dtype=np.float32))
