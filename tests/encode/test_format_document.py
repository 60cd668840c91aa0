"""FORMAT.md says what the code does: its worked examples, its tables, its limits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from packing import Array, Packer

import onnxsqueeze
from onnxsqueeze.encode import Encoded, reference
from onnxsqueeze.encode.bodies import DOMAIN, VERSION, function
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.huffman import MAX_DEPTH
from onnxsqueeze.encode.layouts import MAX_ELEMENTS, MAX_RANK
from onnxsqueeze.encode.names import spec_of
from onnxsqueeze.encode.streams import PLANES

TEXT = (Path(onnxsqueeze.__file__).parent / "FORMAT.md").read_text()
DECODERS = [decode, reference.decode]


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return TEXT.split(f"\n{title}", 1)[1].split("\n#", 1)[0]


def lists(text: str) -> dict[str, list[int]]:
    """``name `1 2 3` `` lists of an example; the payload is in base 16."""
    found = dict(re.findall(r"(payload|\w+) `([0-9A-F ]+)`", text.replace("Payload", "payload")))
    return {
        name: [int(item, 16 if name == "payload" else 10) for item in items.split()] for name, items in found.items()
    }


def example(title: str) -> dict[str, list[int]]:
    return lists(section(title).split("*Example.*", 1)[1].split("\n\n", 1)[0])


def dense(kind: str, stream: dict[str, list[int]], count: int, slots: int) -> Encoded:
    """A weight whose values are the stream's integers."""
    attributes = {f"v_{name}": values for name, values in stream.items() if name != "payload"}
    inputs: dict[str, Array] = {"codebook": np.arange(slots, dtype=np.float32)}
    inputs["v"] = np.array(stream["payload"], np.uint8)
    return Encoded(f"Dense_{kind}_T", inputs, attributes | {"shape": [count], "total": [count]})


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_packed_example(decoder: object) -> None:
    stream = example("### 3.1")
    assert set(stream) == {"payload", "sizes"}
    assert decoder(dense("P3", stream, 3, 8)).tolist() == [5, 2, 7]  # type: ignore[operator]


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_huffman_example(decoder: object) -> None:
    stream = example("### 3.2")
    assert set(stream) == {"payload", "sizes", "zeros", "leaves", "starts"}
    assert decoder(dense("H2", stream, 6, 3)).tolist() == [0, 1, 0, 2, 0, 1]  # type: ignore[operator]


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_gaps_example(decoder: object) -> None:
    text = section("### 4.3")
    weight = [float(item) for item in re.findall(r"weight `([^`]+)`", text)[0].split()]
    stream = example("### 4.3")
    attributes = {
        "shape": [len(weight)],
        "total": [len(weight)],
        "entries": stream["entries"],
        "p_sizes": stream["sizes"],
    }
    values = np.array([float(item) for item in re.findall(r"values `([^`]+)`", text)[0].split()], np.float32)
    inputs: dict[str, Array] = {"p": np.array(stream["payload"], np.uint8), "values": values}
    assert decoder(Encoded("Gaps_P2_Raw32", inputs, attributes)).tolist() == weight  # type: ignore[operator]


def test_the_table_of_planes() -> None:
    rows = [line.strip("| ").split("|") for line in section("### 3.1").splitlines() if line.startswith("| k |")]
    planes = next(line for line in section("### 3.1").splitlines() if line.startswith("| planes"))
    table = zip(rows[0][1:], planes.strip("| ").split("|")[1:], strict=True)
    assert {int(k): tuple(int(b) for b in bits.split(",")) for k, bits in table} == {
        k: bits for k, bits in PLANES.items() if k
    }


def test_the_limits() -> None:
    assert f"n < 2^{MAX_ELEMENTS.bit_length() - 1}" in section("## 5")
    assert f"D ≤ {MAX_DEPTH}" in section("## 5")
    assert f"1 … {MAX_RANK}" in section("### Attributes")
    assert f"`{DOMAIN}` in `opset_import` | {VERSION};" in TEXT


NAMES = [
    "Fill",
    "Dense_P3_S_C_T",
    "Dense_H4L2",
    "Gaps_P4_P5",
    "Gaps_H8_Raw16",
    "Gaps_P2_H4_S_C",
    "NM_P2_Raw32_S",
    "NM_P2_H4",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_of_inputs_and_attributes_are_complete(name: str) -> None:
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", section("### Attributes"), re.M))))
    encoded, _ = Packer(name, 1).pack((8, 25) if name.startswith("Dense") and "T" not in name else (8, 9, 3), 10)
    assert set(encoded.attributes) <= documented
    assert set(function(name, 13).attribute) <= documented, "a body reads an attribute that is not documented"
    assert set(function(name, 13).attribute) <= set(encoded.attributes) | {"to"}
    assert list(function(name, 13).input) == list(spec_of(name).inputs)
