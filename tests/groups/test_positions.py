"""Channels that come to lie along the picture, and reshapes of which only the end is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from random_maker import Maker
from test_remove import check

from onnxsqueeze.groups import analyse, coverage
from onnxsqueeze.model import Model


def _maker() -> Maker:
    return Maker(lambda n: 1)


def _finished(m: Maker, shape: list[Any], y: str, ndim: int, last: int = 5) -> onnx.ModelProto:
    """Rows of numbers come in, and 5 for each go out."""
    return helper.make_model(
        helper.make_graph(
            [*m.nodes, helper.make_node("Identity", [y], ["y"])],
            "positions",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (ndim - 1) + [last])],
            m.weights,
        ),
        opset_imports=[helper.make_opsetid("", m.opset)],
        ir_version=10,
    )


def _rows(m: Maker, height: int) -> str:
    """[2, 3, height, 4], where the height is made of channels."""
    y = m.add("Gemm", "x", m.weight(6, 3 * height * 4), m.weight(3 * height * 4))
    return str(m.add("Reshape", m.add("Relu", y), m.ints(0, 3, height, 4)))


def _head(m: Maker, y: str, width: int) -> str:
    return str(m.add("Gemm", m.add("Flatten", y), m.weight(width, 5)))


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (1, 2)])
def test_convolution_over_channels_of_another_layer(kind: str, size: int, stride: int) -> None:
    m = _maker()
    kernel = (3, 4) if kind == "ConvTranspose" else (4, 3)
    y = m.add(kind, _rows(m, 6), m.weight(*kernel, size, 1), strides=[stride, 1], pads=[size // 2, 0] * 2)
    height = {"Conv": (6 - 1) // stride + 1, "ConvTranspose": (6 - 1) * stride + 1}[kind]
    assert check(_finished(m, [2, 6], _head(m, y, 4 * height * 4), 2), 0, 0.5) > 0


@pytest.mark.parametrize("kind", ["DepthToSpace", "SpaceToDepth"])
def test_blocks_over_channels_of_another_layer(kind: str) -> None:
    m = _maker()
    y = m.add("Conv", _rows(m, 4), m.weight(8, 3, 1, 1))
    assert check(_finished(m, [2, 6], _head(m, m.add(kind, y, blocksize=2), 128), 2), 0, 0.5) > 0


def test_distribution_over_bins_that_are_averaged_by_a_convolution() -> None:
    """The boxes of recent detectors: sides come out of the convolution's picture, and stay."""
    m = _maker()
    y = m.add("Conv", "x", m.weight(16, 3, 1, 1))
    y = m.add("Conv", m.add("Relu", y), m.weight(5 * 8, 16, 1, 1))
    y = m.add("Softmax", m.add("Transpose", m.add("Reshape", y, m.ints(2, 5, 8, 36)), perm=[0, 2, 1, 3]), axis=1)
    y = m.add("Reshape", m.add("Conv", y, m.weight(1, 8, 1, 1)), m.ints(2, 5, 36))
    model = _finished(m, [2, 3, 6, 6], m.add("Transpose", y, perm=[0, 2, 1]), 3)
    assert check(model, 0, 0.5) == 8


def test_slices_with_steps_over_positions_that_a_constant_is_added_to() -> None:
    """Patches are merged: every other position, of axes that a constant ties to numbers of its own."""
    m = _maker()
    y = m.add("Transpose", m.add("Conv", "x", m.weight(16, 3, 1, 1)), perm=[0, 2, 3, 1])
    y = m.add("Add", m.weight(6, 6, 1), y)
    half = m.add("Slice", y, m.ints(0), m.ints(2**62), m.ints(1), m.ints(2))
    other = m.add("Slice", y, m.ints(-1), m.ints(-(2**62)), m.ints(1), m.ints(-2))
    y = m.add("MatMul", m.add("Concat", half, other, axis=3), m.weight(32, 5))
    assert check(_finished(m, [2, 3, 6, 6], y, 4), 0, 0.5) == 8


def test_resized_channels_stay() -> None:
    m = _maker()
    y = m.add("Conv", "x", m.weight(8, 3, 1, 1))
    y = m.add("Resize", y, "", m.constant(np.array([1, 2, 1, 1], np.float32)), mode="linear")
    y = m.add("ReduceMean", m.add("Conv", y, m.weight(5, 16, 1, 1)), m.ints(2, 3), keepdims=0)
    view = Model.load(_finished(m, [2, 3, 6, 6], y, 2))
    assert coverage(analyse(view)).removable == 0
    assert "resizes the channels" in str(analyse(view)[0].blocked) + str(analyse(view)[1].blocked)


@pytest.mark.parametrize("picture", [[7, 7], ["height", "width"]])
def test_padding_computed_from_the_picture_leaves_channels_alone(picture: list[Any]) -> None:
    """As exported: the padding is put together in another order, and turned round."""
    m = _maker()
    y = m.add("Transpose", m.add("Conv", "x", m.weight(16, 3, 1, 1)), perm=[0, 2, 3, 1])
    side = m.add("Mod", m.add("Gather", m.add("Shape", y), m.ints(1), axis=0), m.ints(2))
    pairs = m.add("Reshape", m.add("Concat", m.ints(0, 0, 0), side, m.ints(0, 0, 0, 0), axis=0), m.ints(-1, 2))
    turned = m.add("Slice", pairs, m.ints(-1), m.ints(-(2**62)), m.ints(0), m.ints(-1))
    pads = m.add("Reshape", m.add("Transpose", turned, perm=[1, 0]), m.ints(-1))
    y = m.add("ReduceMean", m.add("MatMul", m.add("Pad", y, pads), m.weight(16, 5)), m.ints(1, 2), keepdims=0)
    model = _finished(m, [2, 3, *picture], y, 2)
    assert coverage(analyse(Model.load(model))).share == 1
    if picture == [7, 7]:
        assert check(model, 0, 0.5) == 8


def test_channels_at_the_end_pass_a_reshape_of_unknown_sizes() -> None:
    m = _maker()
    y = m.add("Transpose", m.add("Conv", "x", m.weight(16, 3, 1, 1)), perm=[0, 2, 3, 1])
    y = m.add("Reshape", y, m.ints(0, -1, 16))
    y = m.add("Reshape", m.add("Relu", y), m.ints(1, 2, -1, 16))
    y = m.add("MatMul", y, m.weight(16, 5))
    model = _finished(m, [1, 3, "height", "width"], y, 4)
    groups = analyse(Model.load(model))
    assert coverage(groups).share == 1


def test_reshape_of_a_value_of_unknown_rank_blocks_and_does_not_fail() -> None:
    m = _maker()
    y = m.add("Reshape", m.add("Foreign", "x", domain="elsewhere"), m.ints(-1, 6))
    y = m.add("MatMul", m.add("Relu", m.add("MatMul", y, m.weight(6, 8))), m.weight(8, 5))
    model = _finished(m, ["rows", 6], y, 2)
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    assert analyse(Model.load(model)) is not None


def test_channels_that_can_only_go_all_together_are_called_so() -> None:
    m = _maker()
    y = m.add("Reshape", m.add("Conv", "x", m.weight(8, 3, 1, 1)), m.ints(0, 2, 4, 36))
    y = m.add("Reshape", m.add("Slice", y, m.ints(0), m.ints(1), m.ints(1)), m.ints(0, 4, 6, 6))
    y = m.add("Conv", y, m.weight(5, 4, 1, 1))
    groups = analyse(Model.load(_finished(m, [2, 3, 6, 6], m.add("Transpose", y, perm=[0, 2, 3, 1]), 4)))
    assert {group.positions for group in groups if group.width == 1} == {4}
