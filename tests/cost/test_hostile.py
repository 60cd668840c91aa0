"""Models that are not what they say: an answer or one clear error, soon, and no wrong figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsqueeze import cost
from onnxsqueeze.cost import walk
from onnxsqueeze.errors import SqueezeError


def info(name: str, *shape: int | str | None) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def build(nodes: list[Any], shape: tuple[int | str, ...], *tensors: Any, **more: Any) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", [info("x", *shape)], [info("y", None)], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **more)


def tensor(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def tile_bomb() -> onnx.ModelProto:
    """Each node makes its output a thousand times as large."""
    nodes = [helper.make_node("Tile", [f"v{i}" if i else "x", "n"], [f"v{i + 1}"]) for i in range(20)]
    return build([*nodes, helper.make_node("Relu", ["v20"], ["y"])], (64,), tensor("n", np.array([1000])))


def function_bomb() -> onnx.ModelProto:
    """Each function calls the next one twice."""
    functions = []
    for number in range(40):
        call = f"f{number + 1}" if number < 39 else "Relu"
        domain = "d" if number < 39 else ""
        nodes = [
            helper.make_node(call, ["a"], ["b"], domain=domain),
            helper.make_node(call, ["b"], ["c"], domain=domain),
        ]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
        functions.append(helper.make_function("d", f"f{number}", ["a"], ["c"], nodes, imports))
    made = build([helper.make_node("f0", ["x"], ["y"], domain="d")], (4,), functions=functions)
    made.opset_import.add(domain="d", version=1)
    return made


def endless_loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Relu", ["h"], ["o"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            info("h", 4),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), info("o", 4)],
    )
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    return build([loop], (4,), tensor("n", np.array(2**62)))


def negative_reshape() -> onnx.ModelProto:
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    return build([node], (64,), tensor("s", np.array([-7, 3])))


def wrong_attributes() -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=0, strides=[0, 0])
    return build([node], (1, 4, 8, 8), tensor("w", np.zeros((4, 4, 3, 3), np.float32)))


def missing_input() -> onnx.ModelProto:
    return build([helper.make_node("MatMul", ["x"], ["y"])], (4, 4))


def unknown_name() -> onnx.ModelProto:
    return build([helper.make_node("MatMul", ["x", "nobody"], ["y"])], (4, 4))


def huge_range() -> onnx.ModelProto:
    node = helper.make_node("Range", ["a", "b", "c"], ["y"])
    return build([node], (4,), *(tensor(n, np.array(v)) for n, v in (("a", 0), ("b", 2**60), ("c", 1))))


HOSTILE = (
    tile_bomb, endless_loop, negative_reshape, wrong_attributes, missing_input, unknown_name, huge_range
)  # fmt: skip


def test_calls_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST", 2000)
    with pytest.raises(SqueezeError, match="over 2,000 nodes"):
        cost.analyse(function_bomb())


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hostile_models(make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    started = time.process_time()
    try:
        found = cost.estimate(cost.analyse(model), cost.load_device())
    except SqueezeError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert found.time.total >= 0 and np.isfinite(found.time.total) and np.isfinite(found.energy.total)
    assert time.process_time() - started < 30, "a bound against hangs, not a measure of speed"
