"""Which nodes a runtime runs inside others, as onnxruntime's CPU provider does it.

Activations, batch normalization and residual additions run in the convolution or product before them; layer
normalization and GELU that were exported as many nodes run as one; zero padding runs in the convolution behind it.
What stays inside a group of fused nodes moves through no memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from onnxsqueeze.cost.operators import Work
from onnxsqueeze.cost.patterns import GELU_OPERATIONS, NORMALIZATION_OPERATIONS, Users, gelu, layer_normalization
from onnxsqueeze.cost.values import Step, Value

ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid"})
AFFINE = frozenset({"BatchNormalization", "Mul", "Add", "Sub", "Div"})
CONVOLUTIONS = frozenset({"Conv", "FusedConv"})
PRODUCTS = frozenset({"Gemm", "FusedGemm"})
PADDED = frozenset({"Conv", "MaxPool", "AveragePool"})


@dataclass(frozen=True)
class Fusion:
    """How steps, by their place in the walk, run together."""

    host: dict[int, int] = field(default_factory=dict)  # a fused step and the step that it runs in
    works: dict[int, Work] = field(default_factory=dict)  # of steps that run as something else than they say

    def group(self, step: int) -> int:
        """The step that this one runs in, itself where it is not fused."""
        while step in self.host:
            step = self.host[step]
        return step


def users_of(steps: Sequence[Step]) -> Users:
    """For each value the steps that read it."""
    users: Users = defaultdict(list)
    for place, step in enumerate(steps):
        for key in dict.fromkeys(v.key for v in step.inputs if v is not None):
            users[key].append(place)
    return users


def fuse(steps: Sequence[Step], users: Users) -> Fusion:
    """Finds what runs together; steps of different frequency never do."""
    found = Fusion()
    _patterns(steps, users, found)
    for place, step in enumerate(steps):
        if step.folded or place in found.host:
            continue
        if step.node.op_type in CONVOLUTIONS:
            _behind_convolution(place, steps, users, found)
        elif step.node.op_type in PRODUCTS:
            _behind(place, ACTIVATIONS, steps, users, found)
        elif step.node.op_type == "MatMul":
            _behind_product(place, steps, users, found)
        elif step.node.op_type == "Pad":
            _before(place, steps, users, found)
    return found


def _patterns(steps: Sequence[Step], users: Users, found: Fusion) -> None:
    for place in range(len(steps)):
        if place in found.host or steps[place].folded:
            continue
        for match, kind, count in (
            (layer_normalization, "normalization", NORMALIZATION_OPERATIONS),
            (gelu, "transcendental", GELU_OPERATIONS),
        ):
            members = match(place, steps, users)
            if members and not any(m in found.host or m in found.works for m in members):
                last = max(members)
                elements = max(v.elements for v in steps[last].outputs if v is not None)
                found.host.update({member: last for member in members if member != last})
                found.works.update({member: Work("free") for member in members if member != last})
                found.works[last] = Work(kind, 0, count * elements)
                break


def _only_user(place: int, steps: Sequence[Step], users: Users) -> int | None:
    """The one step that reads the output of another, and runs as often."""
    output = steps[place].outputs[0] if steps[place].outputs else None
    readers = users.get(output.key, []) if output is not None else []
    if len(readers) != 1 or steps[readers[0]].runs != steps[place].runs:
        return None
    return readers[0]


def _behind(place: int, wanted: frozenset[str], steps: Sequence[Step], users: Users, found: Fusion) -> int | None:
    """Fuses the only user of a step where it is one of the operators wanted; its place, or None."""
    last = max((p for p, host in found.host.items() if host == place), default=place)
    user = _only_user(last, steps, users)
    if user is None or user in found.host or user in found.works or steps[user].node.op_type not in wanted:
        return None
    found.host[user] = place
    return user


def _behind_convolution(place: int, steps: Sequence[Step], users: Users, found: Fusion) -> None:
    """Constant factors and terms per channel, then a residual addition, then one activation."""
    last: int | None = place
    while last is not None:
        user = _only_user(last, steps, users)
        if user is None or steps[user].node.op_type not in AFFINE or not _is_affine(steps[user]):
            break
        last = _behind(place, AFFINE, steps, users, found)
    _behind(place, frozenset({"Add", "Sum"}), steps, users, found) if _is_residual(place, steps, users, found) else None
    _behind(place, ACTIVATIONS, steps, users, found)


def _is_affine(step: Step) -> bool:
    """Whether all that a step adds or multiplies is constant, with one value a channel."""
    others = [v for v in step.inputs if v is not None and v.constant]
    output = step.outputs[0]
    if len(others) != len([v for v in step.inputs if v is not None]) - 1 or output is None or not output.shape:
        return False
    channels = output.shape[1] if len(output.shape) > 1 else 1
    return all(v.elements == channels for v in others)


def _is_residual(place: int, steps: Sequence[Step], users: Users, found: Fusion) -> bool:
    """Whether the next step adds another output of a convolution's size, made before."""
    last = max((p for p, host in found.host.items() if host == place), default=place)
    user = _only_user(last, steps, users)
    if user is None or steps[user].node.op_type not in ("Add", "Sum") or len(steps[user].inputs) != 2:
        return False
    made = {v.key for step in steps[: place + 1] for v in step.outputs if v is not None}
    mine = steps[last].outputs[0]
    other: list[Value] = [v for v in steps[user].inputs if v is not None and mine is not None and v.key != mine.key]
    return len(other) == 1 and mine is not None and other[0].shape == mine.shape and other[0].key in made


def _behind_product(place: int, steps: Sequence[Step], users: Users, found: Fusion) -> None:
    """A product of matrices takes a constant bias behind it; onnxruntime then runs it as Gemm."""
    output = steps[place].outputs[0]
    user = _only_user(place, steps, users)
    if output is None or user is None or not output.shape or len(output.shape) != 2:
        return
    biases = [v for v in steps[user].inputs if v is not None and v.constant]
    if steps[user].node.op_type == "Add" and len(biases) == 1 and biases[0].elements == output.shape[-1]:
        _behind(place, frozenset({"Add"}), steps, users, found)
        _behind(place, ACTIVATIONS, steps, users, found)


def _before(place: int, steps: Sequence[Step], users: Users, found: Fusion) -> None:
    """Padding with a constant runs in the convolution or pool behind it."""
    user = _only_user(place, steps, users)
    if steps[place].attributes.get("mode", b"constant") != b"constant" or user is None:
        return
    if steps[user].node.op_type in PADDED and user not in found.host:
        found.host[place] = user
