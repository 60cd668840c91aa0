"""What each operator does to channels; this table is the only list of operators."""

from __future__ import annotations

from collections.abc import Callable

from onnxsqueeze.groups.rules import einsum, elementwise, products, recurrent, selections, shapes, statistics
from onnxsqueeze.groups.value import Op, Value

Rule = Callable[[Op], list[Value]]

ELEMENTWISE = ["Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor"]

RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise.elementwise),
    "Clip": elementwise.unary,
    "Dropout": elementwise.unary,
    "CastLike": elementwise.unary,
    "Conv": products.conv,
    "ConvTranspose": products.conv,
    "Gemm": products.gemm,
    "MatMul": products.matmul,
    "Transpose": shapes.transpose,
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Squeeze": shapes.squeeze,
    "Unsqueeze": shapes.unsqueeze,
    "Concat": selections.concat,
    "Split": selections.split,
    "Slice": selections.slice_,
    "Gather": selections.gather,
    "Pad": selections.pad,
    "Expand": selections.expand,
    "ConstantOfShape": selections.constant_of_shape,
    "Einsum": einsum.einsum,
    "Tile": selections.tile,
    **dict.fromkeys(
        ["MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "Resize", "Upsample"],
        selections.spatial,
    ),
    "DepthToSpace": selections.depth_to_space,
    "SpaceToDepth": selections.space_to_depth,
    **dict.fromkeys(
        ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp", "ArgMax", "ArgMin"],
        statistics.reduce,
    ),
    **dict.fromkeys(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization"], statistics.along),
    "BatchNormalization": statistics.batch_normalization,
    "InstanceNormalization": statistics.batch_normalization,
    "LayerNormalization": statistics.layer_normalization,
    "RMSNormalization": statistics.layer_normalization,
    "GroupNormalization": statistics.group_normalization,
    "LSTM": recurrent.recurrent,
    "GRU": recurrent.recurrent,
    "RNN": recurrent.recurrent,
}
"""Operators of standard ONNX by name; any other blocks the channels that reach it."""

MICROSOFT: dict[str, Rule] = {
    **dict.fromkeys(["Gelu", "FastGelu", "BiasGelu", "QuickGelu"], elementwise.elementwise),
    "FusedConv": products.conv,
    "FusedGemm": products.gemm,
}
"""Operators of onnxruntime's domain com.microsoft."""

UNREAD = frozenset(["Shape", "Size", "Constant", "Range", "RandomNormal", "RandomUniform", "EyeLike"])
"""Operators that read no values, only sizes."""
