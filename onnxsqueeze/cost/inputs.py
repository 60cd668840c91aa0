"""Sizes for the inputs of a model: those given, declared, or usual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from onnxsqueeze.errors import ModelError

IMAGE, OTHER = 224, 64
# Tried in turn where a model does not take the usual ones: sides of images, lengths of sequences and of sounds.
SIZES = (512, 576, 288, 128, 256, 320, 640, 1024, 16000, 48, 32, 16, 8, 1)
Shapes = Mapping[str, Sequence[int] | int]


@dataclass(frozen=True)
class Input:
    """One input of a model and the shape that the figures are for."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    assumed: tuple[str, ...]  # e.g. "x[0] = 1"


def declared(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs that a caller has to give."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def is_static(model: ModelProto) -> bool:
    """Whether all inputs have fixed sizes."""
    return all(d.HasField("dim_value") and d.dim_value > 0 for v in declared(model) for d in _dims(v))


def guesses(model: ModelProto, shapes: Shapes) -> Iterator[list[Input]]:
    """Sizes for all inputs, the most likely first; raises ModelError where the given ones do not fit."""
    values = declared(model)
    _check(values, shapes)
    tried = set()
    for image, other in ((IMAGE, OTHER), *((size, size) for size in SIZES)):
        made = [_input(value, shapes, image, other) for value in values]
        key = tuple(item.shape for item in made)
        if key not in tried:
            tried.add(key)
            yield made


def _dims(value: ValueInfoProto) -> list[TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)


def _check(values: list[ValueInfoProto], shapes: Shapes) -> None:
    inputs = {v.name: v for v in values}
    axes = {d.dim_param for v in values for d in v.type.tensor_type.shape.dim if d.dim_param}
    for name, given in shapes.items():
        sizes = [given] if isinstance(given, int) else list(given)
        if any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in sizes):
            raise ModelError(f"the shape of '{name}' must be of whole numbers from 1 on, not {given}")
        if isinstance(given, int) and name in axes:
            continue
        if name not in inputs:
            known = [*inputs, *axes]
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(known) or 'none'}"
            raise ModelError(f"the model has no input or dynamic axis '{name}'; {hint}")
        _check_shape(inputs[name], sizes)


def _check_shape(value: ValueInfoProto, sizes: list[int]) -> None:
    if not value.type.tensor_type.HasField("shape"):
        return
    dims = value.type.tensor_type.shape.dim
    fits = len(dims) == len(sizes) and all(
        not d.HasField("dim_value") or d.dim_value in (0, size) for d, size in zip(dims, sizes, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "any" for d in dims)
        raise ModelError(f"input '{value.name}' must have shape [{wanted}], not {sizes}")


def _input(value: ValueInfoProto, shapes: Shapes, image: int, other: int) -> Input:
    dtype, name = value.type.tensor_type.elem_type, value.name
    given = shapes.get(name)
    dims = value.type.tensor_type.shape.dim
    if given is not None and not (isinstance(given, int) and len(dims) != 1):
        return Input(name, dtype, (given,) if isinstance(given, int) else tuple(given), ())
    sizes, assumed = [], []
    for axis, dim in enumerate(dims):
        chosen = shapes.get(dim.dim_param) if dim.dim_param else None
        if dim.HasField("dim_value") and dim.dim_value > 0:
            size = dim.dim_value
        elif isinstance(chosen, int):
            size = chosen
        else:
            size = 1 if axis == 0 and len(dims) > 1 else image if len(dims) == 4 else other
            if len(dims) == 3 and axis == 1 and dims[0].dim_value:
                size = 1  # states of recurrent layers: [directions, batch, width]
            assumed.append(f"{name}[{axis}] = {size}")
        sizes.append(size)
    return Input(name, dtype, tuple(sizes), tuple(assumed))
