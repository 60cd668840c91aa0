"""LSTM, GRU and RNN: the hidden units are channels, the same in all directions."""

from __future__ import annotations

import numpy as np

from onnxsqueeze.groups.rules.elementwise import UNKNOWN
from onnxsqueeze.groups.sizes import Size
from onnxsqueeze.groups.value import Axis, Op, Value

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(op: Op) -> list[Value]:
    """X, W, R, B, sequence lengths, initial h, initial c, peepholes P to Y, Y_h, Y_c."""
    x, w, r = op.given(0), op.given(1), op.given(2)
    if any(v is None or v.axes is None or v.ndim != 3 for v in (x, w, r)):
        op.block_all(UNKNOWN)
        return [op.plain(i) for i in range(len(op.node.output))]
    assert x and w and r and x.axes and w.axes and r.axes
    hidden = r.axes[2]
    if op.attributes.get("layout", 0) or not hidden.size.known:
        op.block_all("has layout 1, or a hidden size that is not known")
        return [op.plain(i) for i in range(len(op.node.output))]
    op.match(w.axes[2], x.axes[2], "reads an axis that is no channel axis, or a graph input")
    op.mark(1, 2, "consumer")
    op.mark(2, 2, "consumer")
    op.count("hidden_size", hidden)
    gates = GATES[op.node.op_type]
    for position, repeats in ((1, gates), (2, gates), (3, 2 * gates), (5, 1), (6, 1), (7, 3)):
        _hidden(op, position, hidden, repeats)
    step, batch, directions = x.axes[0], x.axes[1], Axis(w.axes[0].size)
    shapes = [(step, directions, batch, hidden), (directions, batch, hidden), (directions, batch, hidden)]
    return [op.out(*shapes[i], position=i) for i in range(len(op.node.output))]


def _hidden(op: Op, position: int, hidden: Axis, repeats: int) -> None:
    """Ties the axis of the gates, or of the states, to the hidden units."""
    value = op.given(position)
    if value is None or value.axes is None:
        return
    place = 1 if position < 5 or position == 7 else 2
    for other in range(place):
        op.block(value.axes[other], "is the axis of directions or of the batch")
    labels = None if hidden.labels is None else np.tile(hidden.labels, (repeats, 1))
    op.match(value.axes[place], Axis(hidden.size * Size(repeats), labels), "is tied to a state that is not followed")
    op.mark(position, place, "producer" if position in (1, 2) else "parameter")
