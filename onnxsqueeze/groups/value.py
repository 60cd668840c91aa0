"""What the analysis knows of a value: its axes, and what it holds where that is a shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
from onnx import NodeProto, TensorProto

from onnxsqueeze.groups.channels import Cause, Channels, Labels
from onnxsqueeze.groups.sizes import Size, unknown
from onnxsqueeze.model.graphs import Scope, label

Contents = npt.NDArray[Any]  # objects: Size, or float


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a value; without labels its positions are no channels."""

    size: Size
    labels: Labels | None = None

    @property
    def one(self) -> bool:
        """Whether the axis is broadcast."""
        return self.size == Size(1)


@dataclass(frozen=True, eq=False)
class Value:
    """What flows along one edge."""

    axes: tuple[Axis, ...] | None  # None: nothing is known of the shape
    kind: int = TensorProto.UNDEFINED
    contents: Contents | None = None  # of small integer tensors, and of single floats
    constant: bool = False  # made of constants only
    tensor: TensorProto | None = None  # where it is a constant itself

    @property
    def ndim(self) -> int:
        """Number of axes; only where they are known."""
        assert self.axes is not None
        return len(self.axes)


NOTHING = Value(None)


@dataclass(frozen=True)
class Slot:
    """One axis of a constant, at one of its uses where those need not go together."""

    scope: int
    name: str
    axis: int
    use: tuple[int, int] | None = None  # number of the step and of its input; None: all uses of the tensor


@dataclass(frozen=True, eq=False)
class Step:
    """A node as it was analysed."""

    number: int
    scope: Scope
    node: NodeProto
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: dict[str, Any]


@dataclass(eq=False)
class Trace:
    """Everything that the analysis finds out on its way through the graph."""

    channels: Channels = field(default_factory=Channels)
    slots: dict[int, Slot] = field(default_factory=dict)  # first atom of a constant's axis
    marks: list[tuple[Labels, str, int]] = field(default_factory=list)  # labels of a constant's axis, role, step
    reductions: list[tuple[int, Labels]] = field(default_factory=list)  # step, labels summed without weights
    steps: list[Step] = field(default_factory=list)
    names: dict[tuple[int, str], Value] = field(default_factory=dict)
    outputs: list[Labels] = field(default_factory=list)  # of what the model gives back
    counts: list[tuple[int, str, Labels]] = field(default_factory=list)  # step, attribute, the channels that it counts
    choices: dict[int, int] = field(default_factory=dict)  # steps of Ifs whose branches differ in rank: those followed
    scopes: list[Scope] = field(default_factory=list)
    constants: dict[tuple[int, str], TensorProto] = field(default_factory=dict)
    aliases: dict[tuple[int, str], tuple[int, str]] = field(
        default_factory=dict
    )  # outputs of Identity: their constants


@dataclass(eq=False)
class Op:
    """A node on its turn: what its rule sees and says."""

    trace: Trace
    scope: Scope
    node: NodeProto
    number: int
    opset: int
    inputs: tuple[Value | None, ...]
    guess: list[Value]  # outputs as onnx infers their sizes, without labels
    attributes: dict[str, Any]

    def cause(self, reason: str) -> Cause:
        """A reason with this node's name."""
        return Cause(label(self.node), self.node.op_type, reason)

    def given(self, position: int) -> Value | None:
        """The value at an input; None where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    def ints(self, position: int) -> list[int] | None:
        """The values of an integer input, where they are known."""
        value = self.given(position)
        held = None if value is None else value.contents
        if held is None or not all(isinstance(size, Size) and size.known for size in held.flat):
            return None
        return [size.factor for size in held.flat]

    def setting(self, name: str, position: int) -> list[int] | None:
        """What is an attribute in older opsets and an input in newer ones."""
        if name in self.attributes:
            found = self.attributes[name]
            return [found] if isinstance(found, int) else list(found)
        return self.ints(position)

    def block(self, axis: Axis | None, reason: str) -> None:
        """The channels along this axis must stay."""
        if axis is not None:
            self.trace.channels.block(axis.labels, self.cause(reason))

    def block_all(self, reason: str) -> None:
        """All channels that the node sees must stay."""
        for value in self.inputs:
            for axis in (value.axes or ()) if value is not None else ():
                self.block(axis, reason)

    def mark(self, position: int, axis: int, role: str) -> None:
        """What an axis of a constant input is here: "producer", "consumer" or "parameter"."""
        value = self.given(position)
        if value is None or not value.constant or value.axes is None:
            return
        labels = value.axes[axis].labels
        if labels is None:
            return
        self.trace.marks.append((labels, role, self.number))

    def match(self, one: Axis, other: Axis, reason: str = "meets an axis that is not followed") -> None:
        """The two axes are the same channels, position by position."""
        if one.labels is not None and other.labels is not None and one.size == other.size:
            self.trace.channels.unify(one.labels, other.labels, self.cause("joins channels in ways that do not fit"))
        else:
            self.block(one, reason)
            self.block(other, reason)

    def count(self, attribute: str, axis: Axis) -> None:
        """The attribute is the number of channels along the axis."""
        if axis.labels is not None:
            self.trace.counts.append((self.number, attribute, axis.labels))

    def reduce(self, axis: Axis) -> None:
        """Channels are summed up here without a weight."""
        if axis.labels is not None:
            self.trace.reductions.append((self.number, axis.labels))

    def out(self, *axes: Axis, position: int = 0) -> Value:
        """An output with these axes."""
        guess = self.guess[position] if position < len(self.guess) else NOTHING
        constant = all(value is None or value.constant for value in self.inputs) and bool(self.inputs)
        for axis in axes:
            if axis.one:
                self.block(axis, "is cut down to one channel")
        kind = guess.kind or next((v.kind for v in self.inputs if v is not None), guess.kind)
        return Value(tuple(axes), kind, constant=constant)

    def free(self, size: Size | None = None, hint: str = "") -> Axis:
        """An axis without channels."""
        name = self.node.output[0] if self.node.output else label(self.node)
        return Axis(size or unknown(f"{self.scope.index}:{name}:{hint}"))

    def plain(self, position: int = 0) -> Value:
        """The output without channels, as onnx infers it."""
        return self.guess[position] if position < len(self.guess) else NOTHING
