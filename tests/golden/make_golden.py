"""Makes the golden files: ``python tests/golden/make_golden.py --force``.

They are what the first release wrote, and later releases must read. Make them again only for a new format
version, or where an encoder is meant to choose other bytes; then say so in the commit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from onnxsqueeze.encode import Encoded, Note, Pattern, Scale, Sharing, smallest
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.nodes import to_node

Array = npt.NDArray[Any]

FOLDER = Path(__file__).parent
OPSET = 17


def numbers(count: int, modulus: int) -> Array:
    """Well-mixed integers below ``modulus``, the same everywhere and for ever."""
    state = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(0x2545F491)
    state ^= state >> np.uint64(29)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    return (state >> np.uint64(33)).astype(np.int64) % modulus


def bell(count: int, spread: int) -> Array:
    """Integers around 0, the sums of four even ones in [-spread, spread]."""
    return (numbers(4 * count, 2 * spread + 1).reshape(4, count) - spread).sum(axis=0)


def scale(axis: int, channels: int) -> Scale:
    return Scale(axis, np.float32([0.37, 1.21, 2.9]), numbers(channels, 3).astype(np.uint8))


CODEBOOK = (np.arange(-24, 25) / 16).astype(np.float32)


def gaps(shape: tuple[int, ...], one_in: int) -> Array:
    """1 where a weight is kept."""
    return (numbers(int(np.prod(shape)), one_in) == 0).reshape(shape)


def dense_values(name: str) -> Array:
    """The weight of a good case."""
    scaled = CODEBOOK[bell(32 * 45, 5).reshape(32, 5, 9) // 4 + 24] * scale(0, 32).broadcast(3)
    shared = CODEBOOK[bell(60 * 72, 2).reshape(60, 72) + 24]
    runs = np.repeat(gaps((60, 9), 5), 8, axis=1)
    rows = np.where(numbers(480, 2)[:, None] == np.arange(4) % 2, bell(1920, 6).reshape(480, 4) + 40, 0) / 32
    halves = np.moveaxis(rows.reshape(40, 3, 16), -1, 1).astype(np.float32)
    ramp = (bell(2000, 900) / 7).astype(np.float32).reshape(8, 250)
    makers: dict[str, Callable[[], Array]] = {
        "fill": lambda: np.full((5, 7, 3, 9), -1.5, np.float16),
        "dense_packed": lambda: CODEBOOK[numbers(777, 7)].reshape(7, 111) + np.float32(0),
        "dense_huffman": lambda: shared,
        "dense_scaled_half": lambda: scaled.astype(np.float16),
        "dense_double": lambda: shared[:41, :71].astype(np.float64),
        "gaps_raw": lambda: ramp * gaps(ramp.shape, 6) + np.float32(0),
        "gaps_huffman": lambda: np.arange(1, 4321, dtype=np.float16).reshape(60, 72) * runs,
        "nm_raw": lambda: halves * (np.arange(40, dtype=np.float32)[:, None, None] * np.float32(0.013) + 1),
        "nm_shared": lambda: halves,
    }
    return np.ascontiguousarray(makers[name]())


NOTES = {
    "fill": Note(),
    "dense_packed": Note(),
    "dense_huffman": Note(Sharing(CODEBOOK), None, True),
    "dense_scaled_half": Note(Sharing(CODEBOOK, scale(0, 32)), None, True),
    "dense_double": Note(entropy=True),
    "gaps_raw": Note(),
    "gaps_huffman": Note(entropy=True),
    "nm_raw": Note(None, Pattern(2, 4, 1)),
    "nm_shared": Note(None, Pattern(2, 4, 1)),
}


def model_of(encoded: Encoded, dense: Array) -> onnx.ModelProto:
    """y = the weight."""
    node, tensors = to_node(encoded, "weight", "0.")
    output = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(dense.dtype), dense.shape)
    graph = helper.make_graph([node, helper.make_node("Identity", ["weight"], ["y"])], "golden", [], [output], tensors)
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)],
        functions=[function(encoded.op_type, OPSET)],
        ir_version=8,
        producer_name="onnxsqueeze",
    )


def encode(name: str, dense: Array) -> Encoded:
    encoded = smallest(dense, NOTES[name])
    assert encoded is not None, name
    return encoded


# Bad files: a good one with one thing wrong


def attribute(model: onnx.ModelProto, name: str) -> onnx.AttributeProto:
    return next(a for a in model.graph.node[0].attribute if a.name == name)


def flip(model: onnx.ModelProto, tensor: str, at: int) -> None:
    found = next(t for t in model.graph.initializer if t.name == tensor)
    raw = bytearray(found.raw_data)
    raw[at] ^= 1
    found.raw_data = bytes(raw)


def _newer(model: onnx.ModelProto) -> None:
    next(o for o in model.opset_import if o.domain == DOMAIN).version = VERSION + 1


def _cut(model: onnx.ModelProto) -> None:
    found = next(t for t in model.graph.initializer if t.name == "0.v")
    found.raw_data = found.raw_data[:-1]
    found.dims[0] -= 1


def _operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = model.functions[0].name = "Dense_Q4"


def _last_position(model: onnx.ModelProto) -> None:
    attribute(model, "shape").ints[:] = [8, 200]
    attribute(model, "total").ints[:] = [1600]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 200


BAD: dict[str, tuple[str, Callable[[onnx.ModelProto], Any], str]] = {
    "newer_version": ("dense_packed", _newer, "format version 2"),
    "unknown_operator": ("dense_packed", _operator, "Dense_Q4"),
    "stream_bit": ("dense_huffman", lambda m: flip(m, "0.v", 100), "zeros"),
    "stream_cut": ("dense_huffman", _cut, "segments"),
    "starts_fall": ("dense_huffman", lambda m: attribute(m, "v_starts").ints.__setitem__(1, 0), "starts"),
    "no_shape": ("dense_packed", lambda m: m.graph.node[0].attribute.remove(attribute(m, "shape")), "shape"),
    "position_outside": ("gaps_raw", _last_position, "position"),
}


def files() -> Iterator[tuple[str, bytes | Array]]:
    """Every file: its name, and bytes or an array."""
    models = {}
    for name in NOTES:
        dense = dense_values(name)
        models[name] = model_of(encode(name, dense), dense).SerializeToString(deterministic=True)
        yield f"good/{name}.npy", dense
        yield f"good/{name}.onnx", models[name]
    for name, (source, spoil, _) in BAD.items():
        model = onnx.ModelProto.FromString(models[source])
        spoil(model)
        yield f"bad/{name}.onnx", model.SerializeToString(deterministic=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="overwrite the files that are there")
    force = parser.parse_args().force
    if not force and any(FOLDER.glob("*/*.onnx")):
        sys.exit("the golden files are there; they are what old releases wrote; --force overwrites them")
    for name, content in files():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
