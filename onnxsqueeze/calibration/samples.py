"""Calibration samples: from ``.npz`` files, folders of arrays or ONNX test sets, or a Python function."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, numpy_helper

from onnxsqueeze.errors import ModelError

Array = npt.NDArray[Any]
Feed = dict[str, Array]

HELD_OUT = 4  # one of so many samples is held out


@dataclass(frozen=True, eq=False)
class Samples:
    """Input sets in two parts: one steers, to the other, which reports, no weight is fitted."""

    steering: tuple[Feed, ...]
    held_out: tuple[Feed, ...]
    origin: str  # where they come from, in words

    @property
    def overlap(self) -> bool:
        """Whether there was one sample only, which has to serve both ends."""
        return len(self.steering) == 1 and self.steering[0] is self.held_out[0]

    @property
    def told(self) -> str:
        """What is held out, in words."""
        if self.overlap:
            return f"{self.origin}: the one sample, which the passes have seen"
        total = len(self.steering) + len(self.held_out)
        return f"{self.origin}: {len(self.held_out)} of {total} samples, held out"


def split(feeds: Sequence[Feed], origin: str) -> Samples:
    """One of every ``HELD_OUT`` samples is held out; of two or three, the last one; a single one serves both ends."""
    if len(feeds) == 1:
        return Samples(tuple(feeds), tuple(feeds), origin)
    held = drawn(len(feeds), HELD_OUT) or [len(feeds) - 1]
    return Samples(tuple(feed for i, feed in enumerate(feeds) if i not in held), tuple(feeds[i] for i in held), origin)


def drawn(count: int, every: int) -> list[int]:
    """One place in each run of ``every``, rising; always the same, but not evenly spaced: samples may alternate."""
    starts = np.arange(count // every) * every
    return [int(i) for i in starts + np.random.default_rng(0).integers(every, size=len(starts))]


def read(source: str | os.PathLike[str], model: ModelProto) -> list[Feed]:
    """The samples of a ``.npz`` file, of a folder, or of ``module:function``, one feed a sample.

    A folder holds ``.npz`` files, ``.npy`` files (one a sample, for models of one input), or ``.pb`` tensors named
    ``input_0.pb`` … in subfolders, one a sample, as ONNX test sets have them. Raises ModelError.
    """
    text = os.fspath(source)
    path = Path(text)
    if path.is_dir():
        feeds = list(_folder(path, model))
    elif path.suffix == ".npz" or path.exists():
        feeds = _batched(path, model)
    elif ":" in text:
        feeds = _called(text, model)
    else:
        raise ModelError(f"calibration '{text}' is no .npz file, no folder and no module:function")
    if not feeds:
        raise ModelError(f"calibration '{text}' holds no samples; give a .npz, .npy or .pb file for each")
    return feeds


def separate(arrays: Mapping[str, Array], model: ModelProto, origin: str) -> list[Feed]:
    """Batched inputs, one array an input, as feeds of one sample each.

    An array of one more dimension than its input holds a sample in each row. One of as many dimensions is cut along
    its first axis, to the size that the model declares there or to 1; where it cannot be cut, every sample gets it.
    """
    shapes = inputs(model)
    if unknown := sorted(set(arrays) - set(shapes)):
        raise ModelError(f"{origin}: the model has no input '{unknown[0]}'; it takes: {', '.join(shapes) or 'none'}")
    parts = {name: _parts(np.asarray(array), shapes[name]) for name, array in arrays.items()}
    counts = {name: len(found) for name, found in parts.items() if len(found) != 1}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} for '{name}'" for name, count in counts.items())
        raise ModelError(f"{origin}: inputs differ in their numbers of samples: {told}")
    count = next(iter(counts.values()), 1)
    return [{name: found[i % len(found)] for name, found in parts.items()} for i in range(count)]


def _parts(array: Array, shape: tuple[int | None, ...] | None) -> list[Array]:
    if shape is None or array.ndim == 0 or not len(array):
        return [array]
    if array.ndim == len(shape) + 1:
        return [np.ascontiguousarray(item) for item in array]
    step = shape[0] or 1 if shape else 1
    if array.ndim != len(shape) or len(array) % step:
        return [array]
    return [array[i : i + step] for i in range(0, len(array), step)]


def inputs(model: ModelProto) -> dict[str, tuple[int | None, ...] | None]:
    """The shape of each input that must be fed: sizes, None where one is open; None for an unknown rank."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, tuple[int | None, ...] | None] = {}
    for value in model.graph.input:
        if value.name not in constants:
            kind = value.type.tensor_type
            known = kind.HasField("shape")
            sizes = (d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)  # some exporters write -1
            found[value.name] = tuple(sizes) if known else None
    return found


def _folder(folder: Path, model: ModelProto) -> Iterator[Feed]:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".npz", ".npy"):
            yield from _batched(path, model)
        elif path.is_dir() and (tensors := sorted(path.glob("input_*.pb"))):
            yield {_numbered(model, tensor): _tensor(tensor) for tensor in tensors}
    if tensors := sorted(folder.glob("input_*.pb")):
        yield {_numbered(model, tensor): _tensor(tensor) for tensor in tensors}


def _batched(path: Path, model: ModelProto) -> list[Feed]:
    found = _arrays(path)
    if list(found) == [""]:
        found = {_only_input(model, path): found[""]}
    return separate(found, model, str(path))


def _only_input(model: ModelProto, path: Path) -> str:
    names = list(inputs(model))
    if len(names) != 1:
        raise ModelError(
            f"'{path}' holds one array, but the model takes {len(names)} inputs ({', '.join(names)}); "
            "write numpy.savez(file, name=array, …)"
        )
    return names[0]


def _numbered(model: ModelProto, path: Path) -> str:
    number, names = path.stem.removeprefix("input_"), list(inputs(model))
    if not number.isdecimal() or int(number) >= len(names):
        raise ModelError(f"'{path}' is no input of the model, which has {len(names)}: input_0.pb and so on")
    return names[int(number)]


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of a ``.npz`` file, or that of a ``.npy`` file under the name ""."""
    try:
        return load_arrays(path)
    except Exception as error:  # zipfile, zlib and numpy raise all sorts for corrupt files
        raise ModelError(
            f"cannot read calibration samples from '{path}': {reason(error)}"
        ) from None  # no cause: it is not the output that failed


def load_arrays(path: Path) -> dict[str, Array]:
    """The same; raises whatever NumPy and zipfile do, but with words of our own for text and for objects."""
    with path.open("rb") as file:
        if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
            raise ValueError("it is neither a .npz nor a .npy file; write one with numpy.savez(file, name=array)")
    with _no_pickles():
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}


@contextmanager
def _no_pickles() -> Iterator[None]:
    """NumPy advises to unpickle objects; nobody should."""
    try:
        yield
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError("it holds Python objects; give arrays of numbers, in which all rows have one shape") from None


def _tensor(path: Path) -> Array:
    tensor = TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        if tensor.data_location == TensorProto.EXTERNAL or not tensor.data_type:
            raise ValueError("it is no tensor with its data inside")
        return numpy_helper.to_array(tensor)
    except Exception as error:  # protobuf and onnx raise their own
        raise ModelError(
            f"cannot read calibration sample '{path}': {reason(error)}"
        ) from None  # no cause: it is not the output that failed


def function(text: str, what: str) -> Any:
    """The function that ``module:function`` names; modules of the current folder are found too."""
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise ModelError(f"{what} '{text}' cannot be imported: write module:function, such as my_task:{what}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise ModelError(f"{what} '{text}' cannot be imported: {reason(error)}") from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise ModelError(f"{what} '{text}' is no function")
    return found


def _called(text: str, model: ModelProto) -> list[Feed]:
    names = list(inputs(model))
    wanted = f"a dict of input names to arrays for each sample, or one of batched arrays: {', '.join(names)}"
    try:
        given = function(text, "calibration")()
        listed = None if given is None or isinstance(given, Mapping) else list(given)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"calibration '{text}' failed: {raised(error)}") from error
    if isinstance(given, Mapping):
        return separate({str(name): np.asarray(value) for name, value in given.items()}, model, text)
    if listed is None:
        raise ModelError(f"calibration '{text}' returned None; it must return {wanted}")
    if len(names) != 1 and not all(isinstance(item, Mapping) for item in listed):
        raise ModelError(f"calibration '{text}' must return {wanted}")
    return [
        {str(name): np.asarray(value) for name, value in item.items()}
        if isinstance(item, Mapping)
        else {names[0]: np.asarray(item)}
        for item in listed
    ]


def raised(error: BaseException) -> str:
    """What a user's function raised: its kind, and the first line of what it says."""
    told = reason(error)
    kind = type(error).__name__
    return told if isinstance(error, SystemExit) or told == kind else f"{kind}: {told}"


def reason(error: BaseException) -> str:
    """The first line of what an exception says."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else error.code!r})"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
