"""Corrupt weights: both decoders refuse the same ones, and a body agrees on what they accept."""

from __future__ import annotations

import dataclasses
import functools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from packing import Packer, model_of, run

from onnxsqueeze.encode import Encoded, reference
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.errors import FormatError

Array = npt.NDArray[Any]

BASES: dict[str, tuple[Any, ...]] = {
    "Fill": ((3, 5),),
    "Dense_P3_T": ((3, 5, 7),),
    "Dense_P4_S": ((8, 9),),
    "Dense_P7_C": ((4, 10), 10),
    "Dense_P8_T": ((33,),),
    "Dense_H4_T": ((9, 11),),
    "Dense_H8L3_S_C": ((8, 3, 3), 11),
    "Dense_H12_T": ((2, 1, 301),),
    "Gaps_P4_Raw16": ((97,),),
    "Gaps_P3_P2_S_C": ((11, 40), 10),
    "Gaps_H8L2_H8": ((40, 50),),
    "Gaps_H4_Raw32_S": ((19, 31),),
    "NM_P2_P4_S": ((8, 7), 0, 4),
    "NM_P3_H4L2_C": ((3, 10, 3), 10, 5),
    "NM_P8_Raw64": ((256, 2), 0, 256),
}
EDGES = (
    0,
    -1,
    1,
    8,
    255,
    256,
    1 << 16,
    (1 << 28) - 1,
    1 << 28,
    1 << 31,
    1 << 40,
    (1 << 63) - 1,
    -(1 << 63),
    1 << 64,
)


@functools.cache
def base(name: str) -> Encoded:
    return Packer(name, len(name)).pack(*BASES[name])[0]


def copy_of(encoded: Encoded) -> Encoded:
    inputs = {name: array.copy() for name, array in encoded.inputs.items()}
    return dataclasses.replace(encoded, inputs=inputs, attributes={k: list(v) for k, v in encoded.attributes.items()})


# Ways to go wrong: each takes a copy and breaks it, or returns another one


def a_stream(rng: np.random.Generator, e: Encoded) -> str | None:
    names = [name for name, array in e.inputs.items() if array.dtype == np.uint8 and len(array)]
    return str(rng.choice(names)) if names else None


def flip_bits(rng: np.random.Generator, e: Encoded) -> None:
    if name := a_stream(rng, e):
        for _ in range(int(rng.integers(1, 4))):
            e.inputs[name][rng.integers(len(e.inputs[name]))] ^= 1 << int(rng.integers(8))


def swap_bits(rng: np.random.Generator, e: Encoded) -> None:
    """Exchanges two bytes, which keeps the number of ones where they are in one level."""
    if name := a_stream(rng, e):
        array = e.inputs[name]
        i, j = rng.integers(len(array), size=2)
        array[i], array[j] = array[j], array[i]


def resize(rng: np.random.Generator, e: Encoded) -> None:
    name = str(rng.choice(list(e.inputs)))
    array = e.inputs[name]
    size = max(0, len(array) + int(rng.choice([-len(array), -8, -1, 1, 8, 300])))
    e.inputs[name] = np.resize(array, size).astype(array.dtype)


def retype(rng: np.random.Generator, e: Encoded) -> None:
    name = str(rng.choice(list(e.inputs)))
    with np.errstate(all="ignore"):
        e.inputs[name] = e.inputs[name].astype(rng.choice(["u1", "i1", "i4", "f2", "f4", "f8", "?", "U4"]))


def reshape(rng: np.random.Generator, e: Encoded) -> None:
    name = str(rng.choice(list(e.inputs)))
    array = e.inputs[name]
    e.inputs[name] = array[None] if rng.random() < 0.5 else np.array(1, array.dtype)


def set_entry(rng: np.random.Generator, e: Encoded) -> None:
    values = e.attributes[str(rng.choice(list(e.attributes)))]
    if values:
        i = int(rng.integers(len(values)))
        values[i] = int(rng.choice(EDGES[:-1])) if rng.random() < 0.5 else values[i] + int(rng.choice([-8, -1, 1, 8]))
        if rng.random() < 0.05:
            values[i] = EDGES[-1]


def move_between_entries(rng: np.random.Generator, e: Encoded) -> None:
    """Keeps the sum: sizes, leaves and starts that still add up."""
    values = e.attributes[str(rng.choice(list(e.attributes)))]
    if len(values) > 1:
        i, j = rng.integers(len(values), size=2)
        step = int(rng.integers(1, 4))
        values[i], values[j] = values[i] + step, values[j] - step


def cut_or_grow_list(rng: np.random.Generator, e: Encoded) -> None:
    values = e.attributes[str(rng.choice(list(e.attributes)))]
    if rng.random() < 0.5 and values:
        del values[int(rng.integers(len(values)))]
    else:
        values.insert(int(rng.integers(len(values) + 1)), int(rng.choice([0, 1, 7])))


def drop(rng: np.random.Generator, e: Encoded) -> None:
    table: dict[str, Any] = e.attributes if rng.random() < 0.5 else e.inputs
    del table[str(rng.choice(list(table)))]


def rename(rng: np.random.Generator, e: Encoded) -> Encoded:
    other = [
        *BASES,
        "",
        "Dense_P9",
        "Dense_H13",
        "Fill_S",
        e.op_type + "_S",
        e.op_type + "_C",
        e.op_type + "_T",
    ]
    other += [e.op_type.removesuffix(end) for end in ("_S", "_C", "_T")]
    return dataclasses.replace(e, op_type=str(rng.choice(other)))


def retarget(rng: np.random.Generator, e: Encoded) -> Encoded:
    return dataclasses.replace(e, to=int(rng.choice([0, 1, 10, 11, 16, -1, 1 << 40])))


def grow_weight(rng: np.random.Generator, e: Encoded) -> None:
    """A much larger weight than the streams hold, with attributes that agree on it."""
    shape = e.attributes["shape"]
    shape[int(rng.integers(len(shape)))] = 1 << 14
    if "total" in e.attributes:
        e.attributes["total"] = [int(np.prod(shape, dtype=np.int64))]


Mutation = Callable[[np.random.Generator, Encoded], Encoded | None]
MUTATIONS: list[Mutation] = [
    *(flip_bits, swap_bits, resize, retype, reshape, set_entry, move_between_entries, cut_or_grow_list),
    *(drop, rename, retarget, grow_weight),
]


def outcome(decoder: Callable[[Encoded], Array], encoded: Encoded) -> Array | None:
    try:
        return decoder(encoded)
    except FormatError:
        return None


@pytest.mark.parametrize("name", BASES)
def test_decoders_agree_on_what_is_corrupt(name: str) -> None:
    rng = np.random.default_rng(sum(name.encode()))
    accepted, refused = [], 0
    for turn in range(240):
        encoded = copy_of(base(name))
        mutation = MUTATIONS[turn % len(MUTATIONS)]
        encoded = mutation(rng, encoded) or encoded
        native, slow = outcome(decode, encoded), outcome(reference.decode, encoded)
        about = (turn, mutation.__name__, encoded)
        assert (native is None) == (slow is None), about
        refused += native is None
        if native is not None and slow is not None:
            assert native.dtype == slow.dtype and native.shape == slow.shape, about
            assert native.tobytes() == slow.tobytes(), about
            if native.size < 1 << 12 and encoded.op_type == name:
                accepted.append((encoded, native))
    assert refused >= 60
    outputs, _ = run(model_of(accepted, 13), "basic")
    for (encoded, native), output in zip(accepted, outputs, strict=True):
        assert output.tobytes() == native.tobytes(), encoded


# What the streams cannot justify is refused before memory is taken for it


@pytest.mark.parametrize("decoder", [decode, reference.decode])
@pytest.mark.parametrize("name", [name for name in BASES if name[:4] in ("Dens", "NM_P")])
@pytest.mark.parametrize("shape", [[(1 << 28) - 8], [1 << 14, (1 << 14) - 1], [1 << 28], [1 << 40, 1 << 40], [2] * 400])
def test_a_huge_shape_takes_no_memory(decoder: Callable[[Encoded], Array], name: str, shape: list[int]) -> None:
    encoded = copy_of(base(name))
    encoded.attributes["shape"] = shape
    encoded.attributes["total"] = [int(np.prod(np.array(shape, object)))]
    if "groups" in encoded.attributes:
        size = encoded.attributes["groups"][1]
        encoded.attributes["groups"][0] = encoded.attributes["kept"][0] = encoded.attributes["total"][0] // size
    for suffix in ("", "_T"):
        encoded = dataclasses.replace(encoded, op_type=name.removesuffix("_T") + suffix if name[0] == "D" else name)
        tracemalloc.start()
        try:
            with pytest.raises(FormatError):
                decoder(encoded)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("decoder", [decode, reference.decode])
def test_huge_counts_of_entries_take_no_memory(decoder: Callable[[Encoded], Array]) -> None:
    encoded = copy_of(base("Gaps_H8L2_H8"))
    encoded.attributes.update({name: [(1 << 28) - 1] for name in ("shape", "total", "entries")})
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decoder(encoded)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# What FORMAT.md forbids, one by one: (name, what is done to the attributes or inputs, words of the error)


def set_bit(payload: Array, bit: int) -> None:
    payload[bit // 8] |= 1 << bit % 8


FORBIDDEN: list[tuple[str, Callable[[Encoded], Any], str]] = [
    ("Dense_P4_S", lambda e: e.attributes.update(shape=[]), "1 to 32"),
    ("Dense_P4_S", lambda e: e.attributes.update(shape=[1] * 31 + [8, 9]), "1 to 32"),
    ("Dense_P4_S", lambda e: e.attributes.update(shape=[-8, -9]), "positive"),
    ("Dense_P4_S", lambda e: e.attributes.update(total=[64]), "total"),
    ("Dense_P4_S", lambda e: e.inputs.update(scales=-e.inputs["scales"]), "scale"),
    ("Dense_P4_S", lambda e: e.inputs.update(scales=e.inputs["scales"] * np.float32(np.inf)), "scale"),
    ("Dense_P4_S", lambda e: e.inputs.update(scales=e.inputs["scales"][:0]), "scale"),
    ("Dense_P4_S", lambda e: e.inputs["channels"].fill(255), "scale"),
    ("Dense_P4_S", lambda e: e.attributes.update(scale_shape=[8, 9]), "scale"),
    ("Dense_P4_S", lambda e: e.attributes.update(scale_shape=[1, 1]), "scale"),
    ("Dense_P4_S", lambda e: e.inputs.update(codebook=e.inputs["codebook"][:-1]), "codebook"),
    ("Dense_P4_S", lambda e: e.inputs.update(codebook=np.zeros(257, np.float32)), "codebook"),
    ("Dense_P4_S", lambda e: e.inputs.update(codebook=e.inputs["codebook"].astype(np.float64)), "codebook"),
    ("Dense_P8_T", lambda e: e.inputs.update(codebook=np.zeros(1, np.float32)), "codebook"),
    ("Dense_P8_T", lambda e: set_bit(e.inputs["v"], 8 * 34), "not 0"),
    ("Dense_P3_T", lambda e: set_bit(e.inputs["v"], -1), "not 0"),
    ("Dense_H4_T", lambda e: e.inputs.update(codebook=e.inputs["codebook"][:-1]), "codebook"),
    ("Dense_H4_T", lambda e: set_bit(e.inputs["v"], 8 * e.attributes["v_sizes"][0] - 1), "not 0"),
    ("Gaps_P4_Raw16", lambda e: e.attributes.update(entries=[0]), "entries"),
    ("Gaps_P4_Raw16", lambda e: e.attributes.update(shape=[8], total=[8]), "entries|position"),
    ("Gaps_P4_Raw16", lambda e: e.attributes.pop("total"), "total"),
    ("Gaps_P4_Raw16", lambda e: e.inputs["p"].fill(0), "distance|not 0"),
    ("NM_P2_P4_S", lambda e: e.inputs["p"].fill(0), "increase"),
    ("NM_P2_P4_S", lambda e: e.attributes.update(perm=[0, 0]), "perm"),
    ("NM_P2_P4_S", lambda e: e.attributes.update(moved=[8, 7]), "perm"),
    ("NM_P3_H4L2_C", lambda e: e.attributes.update(groups=[9, 10]), "groups|entries"),
    ("NM_P2_P4_S", lambda e: e.attributes.update(entries=[8]), "groups|entries|length"),
    ("Fill", lambda e: e.inputs.update(value=np.zeros(2, np.float32)), "single"),
    ("Fill", lambda e: e.inputs.update(value=np.zeros(1, np.int32)), "value"),
]


@pytest.mark.parametrize("decoder", [decode, reference.decode])
@pytest.mark.parametrize("case", range(len(FORBIDDEN)))
def test_forbidden_states_are_refused_in_words(decoder: Callable[[Encoded], Array], case: int) -> None:
    name, change, words = FORBIDDEN[case]
    encoded = copy_of(base(name))
    change(encoded)
    with pytest.raises(FormatError, match=words):
        decoder(encoded)
