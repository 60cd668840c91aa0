"""The work of each operator: multiply-accumulates, other operations, and the kind that its speed goes by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from onnxsqueeze.cost.values import Step, Value
from onnxsqueeze.model.graphs import domain

# Operations an element, where one costs more than an addition: a polynomial of its usual degree, a division.
DIVISION, POLYNOMIAL = 4, 10
BLOCK, ALIGNMENT = 16, 4  # channels that are kept together, and that a blocked convolution's are a multiple of


@dataclass(frozen=True)
class Work:
    """What one run of a node computes."""

    kind: str
    macs: int = 0
    operations: int = 0
    weight: int = -1  # the input whose values are multiplied, -1 where there is none
    looked_up: bool = False  # of the first input only as many elements are read as the output has
    padding: float = 1.0  # MACs that a kernel of whole blocks does for each one that counts


Rule = Callable[[Step], Work]


def work_of(step: Step) -> Work | None:
    """The work of a node with known shapes; None where the operator is not in the table."""
    rule = RULES.get((domain(step.node), step.node.op_type))
    if rule is None or (step.problem and not all(v is None or v.known for v in step.outputs)):
        return None
    try:
        return rule(step)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        return None  # not the inputs that the operator takes


def _input(step: Step, position: int) -> Value:
    value = step.inputs[position]
    if value is None:
        raise IndexError(position)
    return value


def _output(step: Step) -> Value:
    value = step.outputs[0]
    if value is None:
        raise IndexError(0)
    return value


def _shape(value: Value) -> tuple[int, ...]:
    if value.shape is None:
        raise ValueError("unknown shape")
    return value.shape


def _conv(data: int = 0, weight: int = 1, bias: int = 2) -> Rule:
    def rule(step: Step) -> Work:
        kernel, out = _shape(_input(step, weight)), _output(step)
        groups = int(step.attributes.get("group", 1))
        macs = out.elements * math.prod(kernel[1:])
        has_bias = len(step.inputs) > bias and step.inputs[bias] is not None
        kind = _conv_kind(kernel, groups)
        padding = _conv_padding(kind, kernel, math.prod(_shape(out)[2:]))
        return Work(kind, macs, out.elements * has_bias, weight, padding=padding)

    return rule


def _conv_kind(kernel: tuple[int, ...], groups: int) -> str:
    pointwise = math.prod(kernel[2:]) == 1
    if not is_blocked(kernel, groups):
        return "gemm" if pointwise and groups == 1 else "im2col"
    if groups > 1 and kernel[1] == 1:
        return "depthwise"
    if kernel[1] < BLOCK and groups == 1:
        return "stem"
    return "conv1x1" if pointwise else "conv"


def _conv_padding(kind: str, kernel: tuple[int, ...], columns: int) -> float:
    """Blocks are of output channels and, where there are enough, of input channels; of columns in products."""
    if kind in ("gemm", "im2col"):
        return _padding(columns)
    return _padding(kernel[0]) * (_padding(kernel[1]) if kernel[1] >= BLOCK else 1.0)


def _padding(size: int) -> float:
    return BLOCK * math.ceil(size / BLOCK) / size if size else 1.0


def is_blocked(kernel: tuple[int, ...], groups: int) -> bool:
    """Whether onnxruntime's CPU provider convolves blocks of channels; others become a product of matrices."""
    inputs, outputs = kernel[1] * groups, kernel[0]
    if len(kernel) != 4 or outputs % ALIGNMENT:
        return False
    if groups == 1:
        return inputs < BLOCK or inputs % ALIGNMENT == 0
    return (kernel[1] == 1 and outputs == groups) or (kernel[1] % BLOCK == 0 and outputs // groups % BLOCK == 0)


def _conv_transpose(step: Step) -> Work:
    data, kernel = _input(step, 0), _shape(_input(step, 1))
    return Work("conv_transpose", data.elements * math.prod(kernel[1:]), 0, 1)


def _product(left: int = 0, right: int = 1, bias: int = -1) -> Rule:
    def rule(step: Step) -> Work:
        one, other, out = _input(step, left), _input(step, right), _output(step)
        shape = _shape(one)
        transposed = bool(step.attributes.get("transA", 0))
        depth = shape[-1] if len(shape) == 1 or not transposed else shape[-2]
        weight = right if other.constant or not one.constant else left
        has_bias = 0 <= bias < len(step.inputs) and step.inputs[bias] is not None
        macs = out.elements * depth
        kind = _product_kind(macs, _input(step, weight))
        padding = _padding(_shape(out)[-1]) if kind == "gemm" and out.shape else 1.0
        return Work(kind, macs, out.elements * has_bias, weight, padding=padding)

    return rule


def _product_kind(macs: int, weight: Value) -> str:
    return "gemv" if macs <= 2 * weight.elements else "gemm"


def _packed_product(step: Step) -> Work:
    out = _output(step)
    macs = out.elements * int(step.attributes["K"])
    return Work("gemm", macs, 0, 1)


def _einsum(step: Step) -> Work:
    equation = step.attributes["equation"].decode()
    sizes: dict[str, int] = {}
    for term, value in zip(equation.split("->")[0].replace(" ", "").split(","), step.inputs, strict=True):
        if value is None or value.shape is None or "." in term:
            return Work("gemm", _output(step).elements)
        sizes |= dict(zip(term, value.shape, strict=True))
    return Work("gemm", math.prod(sizes.values()), 0, 1 if len(step.inputs) > 1 else -1)


def _recurrent(gates: int) -> Rule:
    def rule(step: Step) -> Work:
        length, batch, width = _shape(_input(step, 0))
        if step.attributes.get("layout", 0):
            length, batch = batch, length
        hidden = int(step.attributes["hidden_size"])
        directions = 2 if step.attributes.get("direction", b"") == b"bidirectional" else 1
        cells = length * batch * directions * hidden
        return Work("recurrent", gates * cells * (width + hidden), gates * cells * (POLYNOMIAL + 2), 1)

    return rule


def _attention(step: Step) -> Work:
    """Scores and weighted sums; of com.microsoft.Attention the projections as well."""
    query = _shape(_input(step, 0))
    key = _shape(_input(step, 1)) if step.node.op_type != "Attention" or domain(step.node) == "" else query
    batch, length, width = query[0], query[-2], query[-1] * (query[1] if len(query) == 4 else 1)
    macs = 2 * batch * length * key[-2] * width
    if key is query and domain(step.node) != "":
        macs += batch * length * math.prod(_shape(_input(step, 1)))
    heads = int(step.attributes.get("num_heads", query[1] if len(query) == 4 else 1))
    return Work("gemm", macs, batch * heads * length * key[-2] * (POLYNOMIAL + 6), 1)


def _each(count: int, kind: str = "elementwise") -> Rule:
    """So many operations for each element of the output."""
    return lambda step: Work(kind, 0, count * _output(step).elements)


def _each_of_all(step: Step) -> Work:
    return Work("elementwise", 0, (len(step.inputs) - 1) * _output(step).elements)


def _pool(step: Step) -> Work:
    return Work("pool", 0, _output(step).elements * math.prod(step.attributes["kernel_shape"]))


def _reduce(count: int) -> Rule:
    return lambda step: Work("reduce", 0, count * _input(step, 0).elements)


def _move(step: Step) -> Work:
    return Work("move")


def _transpose(step: Step) -> Work:
    """Moving axes of length 1 moves nothing."""
    shape = _shape(_input(step, 0))
    order = [axis for axis in step.attributes.get("perm", range(len(shape))[::-1]) if shape[axis] > 1]
    return Work("transpose" if order != sorted(order) else "free")


def _gather(step: Step) -> Work:
    return Work("gather", looked_up=True)


def _free(step: Step) -> Work:
    return Work("free")


def _sort(step: Step) -> Work:
    size = _input(step, 0).elements
    return Work("reduce", 0, size * max(1, math.ceil(math.log2(max(size, 2)))))


def _resize(step: Step) -> Work:
    """Interpolation takes 3 operations a neighbour, first in rows, then between them; nearest neighbours only move."""
    mode = step.attributes.get("mode", b"nearest")
    out = _shape(_output(step))
    if mode == b"nearest":
        return Work("move")
    if mode == b"cubic":
        rows = min(4 * out[-2], _shape(_input(step, 0))[-2])  # each row that is needed is interpolated once
        return Work("cubic", 0, 12 * math.prod(out[:-2]) * out[-1] * (rows + out[-2]))
    return Work("resize", 0, 3 * 2 ** max(len(out) - 2, 1) * math.prod(out))


def _suppression(step: Step) -> Work:
    boxes = _shape(_input(step, 0))[1]
    return Work("reduce", 0, 8 * boxes * max(boxes.bit_length(), 1))


def _transform(step: Step) -> Work:
    size = _output(step).elements
    return Work("transcendental", 0, 5 * size * max(1, size.bit_length()))


_CHEAP = """Abs Add And Clip Equal Greater GreaterOrEqual Less LessOrEqual Neg Not Or PRelu Relu LeakyRelu Sign Sub Mul
Where Xor BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift Floor Ceil Round IsInf IsNaN ThresholdedRelu Trilu
CastLike Cast Shrink HardSigmoid HardSwish CumSum Range EyeLike Bernoulli"""
_COSTLY = """Erf Exp Log Sigmoid Tanh Softplus Softsign Pow Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Elu
Selu Celu Mish"""
_FREE = """Reshape Identity Squeeze Unsqueeze Flatten Shape Size Dropout Constant Optional OptionalGetElement
OptionalHasElement SequenceLength SequenceAt SequenceConstruct SequenceEmpty SequenceInsert SequenceErase"""
_MOVE = """Concat Slice Split Pad Expand Tile DepthToSpace SpaceToDepth ConstantOfShape ReverseSequence
Compress SplitToSequence ConcatFromSequence ScatterND ScatterElements Scatter OneHot NonZero Col2Im CenterCropPad Unique
RandomNormal RandomNormalLike RandomUniform RandomUniformLike"""
_REDUCE = {"ReduceMean": 1, "ReduceSum": 1, "ReduceMax": 1, "ReduceMin": 1, "ReduceProd": 1, "ReduceL1": 1} | {
    "ReduceL2": 2, "ReduceSumSquare": 2, "ReduceLogSum": 2, "ReduceLogSumExp": POLYNOMIAL + 2, "ArgMax": 1, "ArgMin": 1,
    "GlobalAveragePool": 1, "GlobalMaxPool": 1,
}  # fmt: skip

_STANDARD: dict[str, Rule] = {
    **dict.fromkeys(_CHEAP.split(), _each(1)),
    **dict.fromkeys(_COSTLY.split(), _each(POLYNOMIAL, "transcendental")),
    **dict.fromkeys(_FREE.split(), _free),
    **dict.fromkeys(_MOVE.split(), _move),
    **{name: _reduce(count) for name, count in _REDUCE.items()},
    **dict.fromkeys(("Sum", "Max", "Min", "Mean"), _each_of_all),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), _gather),
    **dict.fromkeys(("Div", "Reciprocal", "Sqrt", "Mod"), _each(DIVISION)),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _each(POLYNOMIAL + 6, "softmax")),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), _each(8, "normalization")),
    "Transpose": _transpose,
    "RMSNormalization": _each(5, "normalization"),
    "SimplifiedLayerNormalization": _each(5, "normalization"),
    "MeanVarianceNormalization": _each(8, "normalization"),
    "LpNormalization": _each(6, "normalization"),
    "LRN": _each(POLYNOMIAL + 8, "normalization"),
    "BatchNormalization": _each(2),
    "Gelu": _each(POLYNOMIAL + 4, "transcendental"),
    "Swish": _each(POLYNOMIAL + 1, "transcendental"),
    "Conv": _conv(),
    "ConvInteger": _conv(bias=9),
    "QLinearConv": _conv(0, 3, 8),
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv(bias=3),
    "Gemm": _product(bias=2),
    "MatMul": _product(),
    "MatMulInteger": _product(),
    "QLinearMatMul": _product(0, 3),
    "Einsum": _einsum,
    "RNN": _recurrent(1),
    "GRU": _recurrent(3),
    "LSTM": _recurrent(4),
    "Attention": _attention,
    "QuantizeLinear": _each(3),
    "DequantizeLinear": _each(2),
    "DynamicQuantizeLinear": _each(5),
    "Resize": _resize,
    "Upsample": _resize,
    "GridSample": _each(16),
    "RoiAlign": _each(32),
    "TopK": _sort,
    "NonMaxSuppression": _suppression,
    "DFT": _transform,
    "STFT": _transform,
}
_MICROSOFT: dict[str, Rule] = {
    "FusedConv": _conv(),
    "FusedGemm": _product(bias=2),
    "FusedMatMul": _product(),
    "MatMulIntegerToFloat": _product(),
    "DynamicQuantizeMatMul": _product(),
    "QGemm": _product(0, 3),
    "MatMulNBits": _packed_product,
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _attention,
    "DynamicQuantizeLSTM": _recurrent(4),
    "EmbedLayerNormalization": _each(10, "normalization"),
    "NhwcMaxPool": _pool,
    "QLinearAveragePool": _pool,
    "QLinearGlobalAveragePool": _reduce(1),
    "QLinearConcat": _move,
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QLinearLeakyRelu"), _each(4)),
    **dict.fromkeys(("QLinearSigmoid", "QLinearSoftmax"), _each(POLYNOMIAL + 6, "transcendental")),
    **dict.fromkeys(("Gelu", "FastGelu", "QuickGelu", "BiasGelu"), _each(POLYNOMIAL + 4, "transcendental")),
    **dict.fromkeys(("SkipLayerNormalization", "LayerNormalization", "GroupNorm"), _each(9, "normalization")),
    "SkipSimplifiedLayerNormalization": _each(6, "normalization"),
    "QuantizeLinear": _each(3),
    "DequantizeLinear": _each(2),
}
RULES: dict[tuple[str, str], Rule] = {
    **{("", name): rule for name, rule in _STANDARD.items()},
    **{("com.microsoft", name): rule for name, rule in _MICROSOFT.items()},
}
"""By domain and operator."""
