"""Changes of layout: onnxruntime's CPU provider keeps channels in blocks between convolutions.

Where a blocked value is read by a node that does not know blocks, or the reverse, the value is moved once more.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cost.fusion import Fusion
from onnxsqueeze.cost.operators import BLOCK, is_blocked
from onnxsqueeze.cost.patterns import Users
from onnxsqueeze.cost.values import Step, Value

_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_PASSING = frozenset({"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid", *_POOLS})
_SAME_SHAPE = frozenset({"Add", "Sum", "Mul"})


def reorders(steps: Sequence[Step], users: Users, fusion: Fusion) -> dict[int, int]:
    """Bytes that steps move (read and write) to change the layout of their inputs and outputs."""
    blocked: set[str] = set()
    moved: dict[int, int] = {}
    reordered: set[str] = set()
    for place, step in enumerate(steps):
        if step.folded:
            continue
        inputs = [v for v in step.inputs if v is not None and not v.constant]
        if _is_blocked_convolution(step):
            source = step.inputs[0]
            if source is not None and _channels(source) >= BLOCK and source.key not in blocked | reordered:
                moved[place] = moved.get(place, 0) + 2 * source.nbytes
                reordered.add(source.key)
            blocked.update(v.key for v in step.outputs if v is not None)
        elif _passes(step, inputs, blocked):
            blocked.update(v.key for v in step.outputs if v is not None)
        else:
            for value in inputs:
                if value.key in blocked and value.key not in reordered:
                    moved[place] = moved.get(place, 0) + 2 * value.nbytes
                    reordered.add(value.key)
    outputs = [(p, v) for p, s in enumerate(steps) for v in s.outputs if v is not None and not users.get(v.key)]
    for place, value in outputs:
        if value.key in blocked:
            moved[fusion.group(place)] = moved.get(fusion.group(place), 0) + 2 * value.nbytes
    return moved


def _channels(value: Value) -> int:
    return value.shape[1] if value.shape is not None and len(value.shape) == 4 else 0


def _is_blocked_convolution(step: Step) -> bool:
    if step.node.op_type not in ("Conv", "FusedConv") or len(step.inputs) < 2:
        return False
    data, kernel = step.inputs[0], step.inputs[1]
    if data is None or kernel is None or not kernel.constant or kernel.shape is None:
        return False
    return data.bits == 32 and is_blocked(kernel.shape, int(step.attributes.get("group", 1)))


def _passes(step: Step, inputs: list[Value], blocked: set[str]) -> bool:
    """Whether a step works on blocks as they are."""
    if not inputs or not all(v.key in blocked for v in inputs):
        return False
    if step.node.op_type in _PASSING:
        return True
    if step.node.op_type == "BatchNormalization":
        return True
    if step.node.op_type in _SAME_SHAPE:
        return len(inputs) == 2 and inputs[0].shape == inputs[1].shape
    return step.node.op_type == "Concat" and all(_channels(v) % BLOCK == 0 for v in inputs)
