"""Inputs made from a model's signature: shapes, token ranges, dynamic axes."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from onnxsqueeze.calibration.samples import load_arrays, reason
from onnxsqueeze.errors import ModelError

Array = npt.NDArray[Any]
Feeds = dict[str, Array]

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}

_ELEMENTS: dict[int, Any] = {onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)): kind for kind in _DTYPES.values()}

# Sizes to try for axes without a declared size: of images and sequences, and others.
_SIZES = (64, 224, 32, 128, 16, 48, 256, 288, 512, 576, 1, 8, 96, 160, 320, 640, 1024, 2, 3, 4, 12, 20, 40, 80)


def token_limits(model: onnx.ModelProto) -> dict[str, int]:
    """For integer inputs that reach a Gather as indices: the length of the axis that they index."""
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    shapes |= {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    for node in model.graph.node:
        attributes = {a.name: a for a in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            shapes[node.output[0]] = list(attributes["value"].t.dims)
        if "shape" in attributes and node.domain:
            shapes[node.output[0]] = list(attributes["shape"].ints)
    origin = {v.name: v.name for v in model.graph.input}
    limits: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Clip") and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type == "Gather" and node.input[1] in origin and node.input[0] in shapes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            dims = shapes[node.input[0]]
            if -len(dims) <= axis < len(dims) and dims[axis] > 0:
                name = origin[node.input[1]]
                limits[name] = min(dims[axis], limits.get(name, dims[axis]))
    return limits


def _values(kind: Any, shape: list[int], limit: int | None, scalar: int, rng: np.random.Generator) -> Array:
    if kind is np.bool_:
        return np.ones(shape, np.bool_)
    if np.issubdtype(kind, np.integer):
        if shape in ([], [1]):
            return np.full(shape, min(limit - 1, scalar) if limit else scalar, kind)
        return rng.integers(0, limit or 2, shape).astype(kind)
    return rng.standard_normal(shape).astype(kind)


@dataclass(frozen=True)
class _Guess:
    """How to fill in what a signature leaves open."""

    size: int  # of unknown axes of the first input
    batch: int  # of its first axis
    others: int | None  # of unknown axes of the other inputs, such as states; None: as the first input's
    scalar: int  # value of integer inputs of one element, such as sampling rates

    def shape(self, position: int, dims: list[Any]) -> list[int]:
        """The shape of one input."""
        if position > 0 and self.others is not None:
            return [d if isinstance(d, int) and d > 0 else self.others for d in dims]
        return [
            d if isinstance(d, int) and d > 0 else (self.batch if axis == 0 and len(dims) > 1 else self.size)
            for axis, d in enumerate(dims)
        ]


def _guesses() -> Iterator[_Guess]:
    for scalar, others, batch in itertools.product((1, 16000), (None, 1), (1, 2)):
        for size in _SIZES:
            yield _Guess(size, batch, others, scalar)


def make(session: Any, model: onnx.ModelProto, seed: int, count: int = 4) -> list[Feeds]:
    """``count`` seeded input sets that the session accepts; raises ModelError where no shape is accepted.

    Floats are standard normal; integers that index a table stay below its length.
    """
    limits = token_limits(model)
    inputs = session.get_inputs()
    kinds = [_dtype(i.name, i.type) for i in inputs]
    failure = ""
    tried: set[str] = set()
    for guess in _guesses():
        shapes = [guess.shape(position, i.shape) for position, i in enumerate(inputs)]
        key = f"{shapes} {guess.scalar if [] in shapes or [1] in shapes else ''}"
        if key in tried:
            continue
        tried.add(key)
        rng = np.random.default_rng(seed)
        feeds = [
            {
                i.name: _values(kind, shape, limits.get(i.name), guess.scalar, rng)
                for i, kind, shape in zip(inputs, kinds, shapes, strict=True)
            }
            for _ in range(count)
        ]
        try:
            session.run(None, feeds[0])
        except Exception as error:  # onnxruntime raises its own types, none of them public
            failure = failure or str(error).splitlines()[0]
            continue
        return feeds
    raise ModelError(f"no inputs could be made from the model's signature ({failure}); give real ones with --inputs")


def _dtype(name: str, kind: str) -> Any:
    if kind not in _DTYPES:
        raise ModelError(f"input '{name}' is of type {kind}, which cannot be made up; give real inputs with --inputs")
    return _DTYPES[kind]


def check(model: onnx.ModelProto, inputs: Sequence[Mapping[str, Any]], source: str) -> list[Feeds]:
    """The given input sets as arrays; raises ModelError where names, types or shapes are not the model's."""
    wanted = _wanted(model)
    checked = []
    for number, feed in enumerate(inputs):
        place = source if len(inputs) == 1 else f"{source}: sample {number + 1}"
        if unknown := sorted(set(feed) - set(wanted)):
            close = difflib.get_close_matches(unknown[0], list(wanted), n=1, cutoff=0.4)
            hint = f"did you mean '{close[0]}'?" if close else f"it takes: {', '.join(wanted) or 'none'}"
            raise ModelError(f"{place}: the model has no input '{unknown[0]}'; {hint}")
        if missing := sorted(set(wanted) - set(feed)):
            raise ModelError(f"{place}: there is no array for input '{missing[0]}'; one is needed for each input")
        arrays = {name: np.asarray(value) for name, value in feed.items()}
        for name, array in arrays.items():
            _check_array(name, array, wanted[name], place)
        checked.append(arrays)
    return checked


def difference(model: onnx.ModelProto, other: onnx.ModelProto) -> str:
    """In which input a model cannot take what another one takes, in words; empty where there is none."""
    ours, theirs = _wanted(model), _wanted(other)
    if set(ours) != set(theirs):
        return f"{', '.join(map(repr, ours)) or 'none'}, not {', '.join(map(repr, theirs)) or 'none'}"
    for name, kind in ours.items():
        sizes, others = _sizes(kind), _sizes(theirs[name])
        if kind.elem_type != theirs[name].elem_type:
            one, two = (onnx.TensorProto.DataType.Name(k.elem_type).lower() for k in (kind, theirs[name]))
            return f"'{name}' is {one}, not {two}"
        if sizes is None or others is None:
            continue
        open_ends = (isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(sizes, others, strict=False))
        if len(sizes) != len(others) or not all(open_ends):
            return f"'{name}' has shape {_told(sizes)}, not {_told(others)}"
    return ""


def _wanted(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return {v.name: v.type.tensor_type for v in model.graph.input if v.name not in constants}


def _sizes(kind: onnx.TypeProto.Tensor) -> list[int | str] | None:
    """Numbers, or names of what is left open, as by numbers below 0; None for an unknown rank."""
    if not kind.HasField("shape"):
        return None
    dims = kind.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or "any" for d in dims]


def _told(sizes: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _check_array(name: str, array: Array, wanted: onnx.TypeProto.Tensor, source: str) -> None:
    if wanted.elem_type in _ELEMENTS and array.dtype != _ELEMENTS[wanted.elem_type]:
        kind = np.dtype(_ELEMENTS[wanted.elem_type])
        raise ModelError(f"{source}: input '{name}' must be {kind}, not {array.dtype}")
    if (sizes := _sizes(wanted)) is None:
        return
    fits = len(array.shape) == len(sizes) and all(
        size == wish or isinstance(wish, str) for size, wish in zip(array.shape, sizes, strict=True)
    )
    if not fits:
        raise ModelError(f"{source}: input '{name}' must have shape {_told(sizes)}, not {list(array.shape)}")


def read(path: str) -> list[Feeds]:
    """Input sets from an ``.npz`` file: one array an input; raises ModelError."""
    try:
        found = load_arrays(Path(path))
        if "" in found:
            raise ValueError("it holds one array without a name; write it with numpy.savez(file, input_name=array)")
        return [found]
    except Exception as error:  # zipfile, zlib and numpy raise all sorts for corrupt files
        raise ModelError(f"cannot read inputs from '{path}': {reason(error)}") from error
