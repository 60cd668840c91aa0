"""What each operator does to channels; this table is the only list of operators."""

from __future__ import annotations

from collections.abc import Callable

from onnxsqueeze.groups.rules import einsum, elementwise, products, recurrent, selections, shapes, statistics
from onnxsqueeze.groups.value import Op, Value

Rule = Callable[[Op], list[Value]]

_STANDARD: tuple[tuple[Rule, str], ...] = (
    (
        elementwise.elementwise,
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil "
        "Celu Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf "
        "IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round "
        "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor",
    ),
    (elementwise.unary, "CastLike Clip Dropout"),
    (products.conv, "Conv ConvTranspose"),
    (products.gemm, "Gemm"),
    (products.matmul, "MatMul"),
    (einsum.einsum, "Einsum"),
    (shapes.transpose, "Transpose"),
    (shapes.reshape, "Reshape"),
    (shapes.flatten, "Flatten"),
    (shapes.squeeze, "Squeeze"),
    (shapes.unsqueeze, "Unsqueeze"),
    (selections.concat, "Concat"),
    (selections.split, "Split"),
    (selections.slice_, "Slice"),
    (selections.gather, "Gather"),
    (selections.pad, "Pad"),
    (selections.expand, "Expand"),
    (selections.tile, "Tile"),
    (selections.constant_of_shape, "ConstantOfShape"),
    (selections.depth_to_space, "DepthToSpace"),
    (selections.space_to_depth, "SpaceToDepth"),
    (
        selections.spatial,
        "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool Resize Upsample",
    ),
    (
        statistics.reduce,
        "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare",
    ),
    (statistics.along, "Hardmax LogSoftmax LpNormalization Softmax"),
    (statistics.batch_normalization, "BatchNormalization InstanceNormalization"),
    (statistics.layer_normalization, "LayerNormalization RMSNormalization"),
    (statistics.group_normalization, "GroupNormalization"),
    (recurrent.recurrent, "GRU LSTM RNN"),
)

RULES = {name: rule for rule, names in _STANDARD for name in names.split()}
"""Operators of standard ONNX by name; any other blocks the channels that reach it."""

_MICROSOFT: tuple[tuple[Rule, str], ...] = (
    (elementwise.elementwise, "BiasGelu FastGelu Gelu QuickGelu"),
    (products.conv, "FusedConv"),
    (products.gemm, "FusedGemm"),
)

MICROSOFT = {name: rule for rule, names in _MICROSOFT for name in names.split()}
"""Operators of onnxruntime's domain com.microsoft."""

UNREAD = frozenset({"Shape", "Size", "Constant", "Range", "RandomNormal", "RandomUniform", "EyeLike"})
"""Operators that read no values, only sizes."""
