"""Unpacking models whose packed weights lie at several depths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import onnxsqueeze
import onnxsqueeze.runtime
from onnxsqueeze.pipeline.unpack import unpack_file
from onnxsqueeze.report import inspect


def nested() -> onnx.ModelProto:
    """A weight in the main graph, one in a Loop's body, and one in an If inside of that body."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32), n) for n in ("a", "b", "c")]

    def floats(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64])

    then = helper.make_graph([helper.make_node("MatMul", ["s1", "c"], ["t"])], "then", [], [floats("t")], weights[2:])
    otherwise = helper.make_graph([helper.make_node("Neg", ["s1"], ["e"])], "else", [], [floats("e")])
    flag, number = (
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("i", 7, []),
    )
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["s0", "b"], ["s1"]),
            helper.make_node("If", ["go"], ["s2"], then_branch=then, else_branch=otherwise),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [number, flag, floats("s0")],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), floats("s2")],
        weights[1:2],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Loop", ["times", "", "h"], ["y"], body=body),
    ]
    times = numpy_helper.from_array(np.int64(2), "times")
    graph = helper.make_graph(nodes, "g", [floats("x")], [floats("y")], [times, weights[0]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_weights_at_every_depth_come_back_in_every_way_of_opening(tmp_path: Path) -> None:
    packed, dense = tmp_path / "small.onnx", tmp_path / "dense.onnx"
    result = onnxsqueeze.compress(nested(), packed, "share,huffman", jobs=1)
    assert sum(bool(w.encoding) for w in result.weights) == 3
    assert unpack_file(packed, dense).tensors == 3
    assert len(inspect.listing(str(packed)).rows) == 3
    x = {"x": np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)}
    opened = [onnxruntime.InferenceSession(path) for path in (packed, dense)] + [
        onnxsqueeze.runtime.load(packed, providers=["CPUExecutionProvider"])
    ]
    outputs = [session.run(None, x)[0] for session in opened]
    assert np.isfinite(outputs[0]).all() and all(np.array_equal(outputs[0], other) for other in outputs[1:])
