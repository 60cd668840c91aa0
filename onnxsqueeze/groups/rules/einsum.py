"""Einsum: every letter is an axis; letters that do not come out are summed over."""

from __future__ import annotations

from onnxsqueeze.groups.rules.elementwise import UNKNOWN
from onnxsqueeze.groups.rules.products import INPUT
from onnxsqueeze.groups.value import Axis, Op, Value


def einsum(op: Op) -> list[Value]:
    """Products and sums over named axes; no ellipsis."""
    equation = op.attributes["equation"].replace(" ", "")
    inside, arrow, outside = equation.partition("->")
    terms = inside.split(",")
    values = list(op.inputs)
    fits = len(terms) == len(values) and all(
        value is not None and value.axes is not None and value.ndim == len(term)
        for term, value in zip(terms, values, strict=False)
    )
    if not arrow or "." in equation or not fits:
        op.block_all(UNKNOWN)
        return [op.plain()]
    axes: dict[str, Axis] = {}
    for position, (term, value) in enumerate(zip(terms, values, strict=True)):
        assert value is not None and value.axes is not None
        for place, (letter, axis) in enumerate(zip(term, value.axes, strict=True)):
            op.mark(position, place, _role(letter, position, terms, outside))
            if letter in axes and not axis.one and not axes[letter].one:
                op.match(axes[letter], axis, INPUT)
            elif letter not in axes or axes[letter].one:
                axes[letter] = axis
    if not any(value is not None and value.constant for value in values):
        for letter in set(axes) - set(outside):
            op.reduce(axes[letter])
    return [op.out(*(axes[letter] for letter in outside))]


def _role(letter: str, position: int, terms: list[str], outside: str) -> str:
    if letter not in outside:
        return "consumer"
    shared = any(letter in term for i, term in enumerate(terms) if i != position)
    return "parameter" if shared else "producer"
