"""Shape computations: what small integer tensors hold, as sizes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from onnxsqueeze.groups.sizes import Size, product, unknown
from onnxsqueeze.groups.value import Contents, Value

LIMIT = 1024  # elements


Rule = Callable[[Sequence[Value | None], dict[str, Any]], Contents]


def held(values: Sequence[Size | float], shape: tuple[int, ...] | None = None) -> Contents:
    """An array of sizes."""
    listed = list(values)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array if shape is None else array.reshape(shape)


def of_array(values: npt.NDArray[Any]) -> Contents:
    """Plain numbers: sizes where they are whole by type, floats otherwise."""
    exact = values.dtype.kind in "iub"
    return held([Size(int(value)) if exact else float(value) for value in values.reshape(-1)], values.shape)


def contents(op_type: str, inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents | None:
    """What the first output holds; None where that cannot be told."""
    rule = RULES.get(op_type)
    if rule is None:
        return None
    try:
        found = rule(inputs, attributes)
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ArithmeticError):
        return None
    return found if found is not None and found.size <= LIMIT else None


def _of(inputs: Sequence[Value | None], position: int) -> Contents:
    value = inputs[position]
    if value is None or value.contents is None:
        raise ValueError("not known")
    return value.contents


def _ints(inputs: Sequence[Value | None], attributes: dict[str, Any], name: str, position: int) -> list[int] | None:
    if name in attributes:
        return list(attributes[name])
    if position >= len(inputs) or inputs[position] is None:
        return None
    return [_int(size) for size in _of(inputs, position).reshape(-1)]


def _int(size: Size | float) -> int:
    if not isinstance(size, Size) or not size.known:
        raise ValueError("not known")
    return size.factor


def _float(value: Size | float) -> float:
    return value if isinstance(value, float) else float(_int(value))


def _shape(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    value = inputs[0]
    if value is None or value.axes is None:
        raise ValueError("not known")
    sizes = [axis.size for axis in value.axes]
    return held(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))])


def _size(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return held([product(list(_shape(inputs, {})))], ())


def _same(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return _of(inputs, 0)


def _gather(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    places = np.vectorize(_int, otypes=[np.int64])(_of(inputs, 1))
    return np.asarray(np.take(_of(inputs, 0), places, axis=attributes.get("axis", 0)), object)


def _concat(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return np.concatenate([_of(inputs, i) for i in range(len(inputs))], axis=attributes.get("axis", 1))


def _slice(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    data = _of(inputs, 0)
    starts, ends = (_ints(inputs, attributes, name, i) or [] for i, name in ((1, "starts"), (2, "ends")))
    axes = _ints(inputs, attributes, "axes", 3) or list(range(len(starts)))
    steps = _ints(inputs, attributes, "steps", 4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        begin, stop = bounds(start, end, step, data.shape[axis])
        data = np.take(data, range(begin, stop, step), axis=axis)
    return data


def bounds(start: int, end: int, step: int, size: int) -> tuple[int, int]:
    """What Slice means by its start and end, as for ``range``."""
    low, high = (0, size) if step > 0 else (-1, size - 1)
    start, end = (value + size if value < 0 else value for value in (start, end))
    return min(max(start, 0), high), min(max(end, low), high if step < 0 else size)


def _squeeze(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    axes = _ints(inputs, attributes, "axes", 1)
    return np.squeeze(_of(inputs, 0), None if axes is None else tuple(axes))


def _unsqueeze(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return np.expand_dims(_of(inputs, 0), tuple(_ints(inputs, attributes, "axes", 1) or ()))


def _reshape(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return _of(inputs, 0).reshape(_ints(inputs, attributes, "shape", 1) or [])


def _transpose(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return np.transpose(_of(inputs, 0), attributes.get("perm"))


def _filled(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    shape = [_int(size) for size in _of(inputs, 0)]
    if int(np.prod(shape)) > LIMIT:
        raise ValueError("too large")
    fill = attributes.get("value")
    if fill is None:
        raise ValueError("no integer")
    return held([Size(fill)] * int(np.prod(shape)), tuple(shape))


def _range(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    start, limit, step = (_int(_of(inputs, i).reshape(-1)[0]) for i in range(3))
    if abs(limit - start) > LIMIT * abs(step):
        raise ValueError("too large")
    return of_array(np.arange(start, limit, step))


def _product_of(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    return held([product(list(_of(inputs, 0).reshape(-1)))], (1,) if attributes.get("keepdims", 1) else ())


def _constant(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    listed = attributes.get("value_ints", attributes.get("value_int"))
    if listed is None:
        raise ValueError("not known")
    return of_array(np.asarray(listed, np.int64))


def _each(rule: Callable[[Size | float], Size | float]) -> Callable[[Sequence[Value | None], dict[str, Any]], Contents]:
    return lambda inputs, attributes: held([rule(v) for v in _of(inputs, 0).flat], _of(inputs, 0).shape)


def _cast(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    to = attributes.get("to")
    data = _of(inputs, 0)
    if to == TensorProto.BOOL:
        return held([Size(int(_float(v) != 0)) for v in data.flat], data.shape)
    if to in (TensorProto.INT64, TensorProto.INT32):
        return held([v if isinstance(v, Size) else Size(int(v)) for v in data.flat], data.shape)
    if to in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16) and data.size <= 1:
        return held([_float(v) for v in data.flat], data.shape)
    return data


def _pairwise(rule: Callable[[Any, Any], Any]) -> Callable[[Sequence[Value | None], dict[str, Any]], Contents]:
    def run(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
        result = _of(inputs, 0)
        for position in range(1, len(inputs)):
            result = np.asarray(np.frompyfunc(rule, 2, 1)(result, _of(inputs, position)), object)
        return result

    return run


def _divided(one: Size | float, other: Size | float) -> Size | float:
    if not isinstance(one, Size) or not isinstance(other, Size):
        return _float(one) / _float(other)
    if one.known and other.known:
        quotient = abs(one.factor) // abs(other.factor)
        return Size(quotient if (one.factor < 0) == (other.factor < 0) else -quotient)
    return one.over(other) or unknown(f"({one}/{other})")


def _numbers(rule: Callable[[int, int], int]) -> Callable[[Size, Size], Size]:
    return lambda one, other: Size(int(rule(_int(one), _int(other))))


def _remainder(one: Size | float, other: Size | float) -> Size:
    divisor = _int(other)
    if isinstance(one, Size) and not one.known and divisor > 0:
        return unknown(f"({one}%{divisor})")
    return Size(_int(one) % divisor)


def _where(inputs: Sequence[Value | None], attributes: dict[str, Any]) -> Contents:
    condition, one, other = np.broadcast_arrays(*(_of(inputs, i) for i in range(3)))
    chosen = [b if _int(a) else c for a, b, c in zip(condition.flat, one.flat, other.flat, strict=True)]
    return held(chosen, condition.shape)


def _equal(one: Size, other: Size) -> Size:
    if one == other or (one.known and other.known):
        return Size(int(one == other))
    if (one.known and one.factor < 0) or (other.known and other.factor < 0):
        return Size(0)  # a size is never negative
    raise ValueError("not known")


def _arithmetic(exact: Callable[[Size, Size], Size], rough: Callable[[float, float], float]) -> Rule:
    """Sizes where both are, else floats."""
    return _pairwise(
        lambda one, other: (
            exact(one, other)
            if isinstance(one, Size) and isinstance(other, Size)
            else float(rough(_float(one), _float(other)))
        )
    )


RULES: dict[str, Rule] = {
    "Constant": _constant,
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Cast": _cast,
    "Floor": _each(lambda v: v if isinstance(v, Size) else float(math.floor(v))),
    "Ceil": _each(lambda v: v if isinstance(v, Size) else float(math.ceil(v))),
    "Sqrt": _each(lambda v: math.sqrt(_float(v))),
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ConstantOfShape": _filled,
    "Range": _range,
    "ReduceProd": _product_of,
    "Add": _arithmetic(operator.add, operator.add),
    "Sub": _arithmetic(operator.sub, operator.sub),
    "Mul": _arithmetic(operator.mul, operator.mul),
    "Pow": _pairwise(lambda one, other: _float(one) ** _float(other)),
    "Div": _pairwise(_divided),
    "Mod": _pairwise(_remainder),
    "Min": _pairwise(_numbers(min)),
    "Max": _pairwise(_numbers(max)),
    "Less": _pairwise(_numbers(lambda one, other: one < other)),
    "Greater": _pairwise(_numbers(lambda one, other: one > other)),
    "Equal": _pairwise(_equal),
    "Where": _where,
    "Not": _each(lambda v: Size(int(not _int(v)))),
    "And": _pairwise(_numbers(lambda one, other: bool(one) and bool(other))),
    "Or": _pairwise(_numbers(lambda one, other: bool(one) or bool(other))),
}
