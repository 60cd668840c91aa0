"""Operators that exporters write as several nodes: layer normalization and GELU."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cost.values import Step

Users = dict[str, list[int]]

NORMALIZATION_OPERATIONS, GELU_OPERATIONS = 8, 14  # an element, as the operators themselves count


def layer_normalization(place: int, steps: Sequence[Step], users: Users) -> list[int] | None:
    """The steps of (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias, from its first mean on."""
    if steps[place].node.op_type != "ReduceMean":
        return None
    centred = _next([place], "Sub", steps, users)
    if centred is None:
        return None
    squared = _next([centred], "Pow", steps, users) or _next([centred], "Mul", steps, users)
    chain = [place, centred, squared]
    for op_type in ("ReduceMean", "Add", "Sqrt"):
        chain.append(None if chain[-1] is None else _next([chain[-1]], op_type, steps, users))
    if chain[-1] is None or squared is None:
        return None
    members = [p for p in chain if p is not None]
    for op_type in ("Div", "Mul", "Add"):
        following = _next([members[-1]], op_type, steps, users)
        if following is None:
            break
        members.append(following)
    return members if steps[members[-1]].node.op_type == "Add" and len(members) == 9 else None


def gelu(place: int, steps: Sequence[Step], users: Users) -> list[int] | None:
    """The steps of 0.5 x (1 + erf(x / sqrt 2)), from the Erf on, its scaling before and its bias included."""
    step = steps[place]
    if step.node.op_type != "Erf":
        return None
    maker = {v.key: p for p in range(max(0, place - 8), place) for v in steps[p].outputs if v is not None}
    before = [maker[v.key] for v in step.inputs if v is not None and v.key in maker]
    members = [p for p in before if steps[p].node.op_type in ("Div", "Mul")] + [place]
    for op_type in ("Add", "Mul", "Mul"):
        following = _next([members[-1]], op_type, steps, users)
        if following is None:
            return None
        members.append(following)
    first = steps[members[0]].inputs[0]
    bias = maker.get(first.key) if first is not None else None
    if bias is not None and steps[bias].node.op_type == "Add" and any(v and v.constant for v in steps[bias].inputs):
        members.insert(0, bias)
    return members


def _next(places: list[int], op_type: str, steps: Sequence[Step], users: Users) -> int | None:
    """The user of a step that is of this operator."""
    output = steps[places[-1]].outputs[0]
    if output is None:
        return None
    return next((p for p in users.get(output.key, ()) if steps[p].node.op_type == op_type), None)
