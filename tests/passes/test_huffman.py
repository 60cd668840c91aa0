"""Huffman: the same weights bit for bit, never a larger file, and no more at load than its options allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from small_graphs import MODELS, build, gaussian

from onnxsqueeze.errors import PipelineError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.pipeline.lower import lower
from onnxsqueeze.pipeline.unpack import unpack

Array = np.ndarray[Any, Any]


def three(kind: type[np.generic] = np.float32) -> onnx.ModelProto:
    """Layers large enough for their coding to pay for its functions: plain, sparse and long-tailed."""
    name = {np.float32: "float", np.float16: "float16", np.float64: "double"}[kind]
    sparse = gaussian(480, 480, seed=1)
    sparse[np.abs(sparse) < 0.4] = 0
    tailed = np.random.default_rng(2).standard_t(3, (480, 480)) / 20
    return build(
        f"({name}[1,480] x) => ({name}[a,b] y) {{ h = MatMul(x, u)  k = MatMul(h, v)  y = MatMul(k, w) }}",
        u=gaussian(480, 480).astype(kind),
        v=sparse.astype(kind),
        w=tailed.astype(kind),
    )


def run(text: str, proto: onnx.ModelProto, notes: list[str] | None = None) -> tuple[int, Model]:
    """The changes of the last pass, and the model after all; no pass is told what follows."""
    model, changes = Model.load(proto), 0
    for step in parse(text, PASSES):
        changes = step(model, Context(notes=(notes if notes is not None else []).append))
    return changes, model


def dense(model: Model) -> dict[str, tuple[np.dtype[Any], bytes]]:
    return {w.name: (w.dtype, w.values().tobytes()) for w in model.weights(1)}


def packed(model: Model) -> onnx.ModelProto:
    lower(model, Context())
    onnx.checker.check_model(model.proto, full_check=True)
    return model.proto


def unpacked(proto: onnx.ModelProto) -> dict[str, tuple[np.dtype[Any], bytes]]:
    """The dense weights that lie in a file."""
    model = Model.load(proto)
    unpack(model)
    return dense(model)


def coded(model: Model) -> set[str]:
    return {name for name, note in model.notes.items() if note.entropy}


BEFORE = ["share{bits=2}", "share{bits=5}", "share{bits=8}", "share", "prune{sparsity=0.8},share{bits=4}"]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_lossless_and_smaller(before: str, kind: type[np.generic]) -> None:
    _, plain = run(before, three(kind))
    changes, model = run(f"{before},huffman", three(kind))
    assert changes == len(coded(model)) > 0
    expected = dense(plain)
    assert dense(model) == expected
    one, other = packed(plain), packed(model)
    assert other.ByteSize() <= one.ByteSize()
    assert other.ByteSize() < one.ByteSize() or before == "share{bits=2}"  # it saves less than its function weighs
    assert unpacked(one) == unpacked(other) == expected


def test_of_an_untouched_model() -> None:
    """Weights that share nothing are coded losslessly too, or left dense."""
    expected = dense(Model.load(three()))
    _, model = run("huffman", three())
    proto = packed(model)
    assert unpacked(proto) == expected
    assert proto.ByteSize() <= three().ByteSize()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("before", ["share{bits=4}", "prune{sparsity=0.9 minimum=64},share{bits=3}"])
def test_never_larger(before: str, name: str) -> None:
    plain = packed(run(before, MODELS[name]())[1])
    model = packed(run(f"{before},huffman", MODELS[name]())[1])
    assert model.ByteSize() <= plain.ByteSize()
    assert unpacked(model) == unpacked(plain)


def test_stock_onnxruntime_computes_the_same() -> None:
    results = []
    for text in ("share{bits=5}", "share{bits=5},huffman"):
        proto = packed(run(text, three())[1])
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": gaussian(1, 480)})[0].tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("limit", ["nodes", "memory"])
def test_no_allowance_switches_it_off_and_says_so(limit: str) -> None:
    notes: list[str] = []
    _, plain = run("share{bits=4}", three())
    changes, model = run(f"share{{bits=4}},huffman{{{limit}=0}}", three(), notes)
    assert changes == 0
    assert coded(model) == set()
    assert model.proto.SerializeToString() == plain.proto.SerializeToString()
    (note,) = notes
    assert note.startswith("3 tensors stay without Huffman coding")
    assert f"0 {'nodes' if limit == 'nodes' else 'MB'}" in note and limit in note
    assert packed(model).SerializeToString(deterministic=True) == packed(plain).SerializeToString(deterministic=True)


def test_ample_allowance_says_nothing() -> None:
    notes: list[str] = []
    assert run("share{bits=4},huffman", three(), notes)[0] == 3
    assert notes == []


def test_a_small_allowance_goes_to_some() -> None:
    """Ever more nodes: ever more tensors, none lost again, and the note counts the rest."""
    found: list[set[str]] = []
    for nodes in range(0, 600, 20):
        notes: list[str] = []
        changes, model = run(f"share{{bits=4}},huffman{{nodes={nodes}}}", three(), notes)
        found.append(coded(model))
        assert len(found[-1]) == changes
        assert [n.split()[0] for n in notes] == ([str(3 - changes)] if changes < 3 else [])
    assert [len(f) for f in found] == sorted(len(f) for f in found)
    assert found[0] == set()
    assert len(found[-1]) == 3
    assert {1, 2} & {len(f) for f in found}, "a limit between none and all takes a part"


def test_notes_of_other_passes_stay() -> None:
    _, plain = run("prune{granularity=2:4},share{bits=4}", three())
    _, model = run("prune{granularity=2:4},share{bits=4},huffman", three())
    assert coded(model)
    for name, note in plain.notes.items():
        ours = model.notes[name]
        assert ours.pattern == note.pattern
        assert (ours.sharing is None) == (note.sharing is None)
        if ours.sharing and note.sharing:
            assert ours.sharing.codebook.tobytes() == note.sharing.codebook.tobytes()


def test_nothing_to_gain_changes_nothing() -> None:
    """Bytes at random cannot be coded: 0 changes, no annotation, no remark."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, (64, 64), np.uint32)
    weight = np.where((bits & 0x7F800000) == 0x7F800000, bits & 0x7FFFFF, bits).astype(np.uint32).view(np.float32)
    notes: list[str] = []
    changes, model = run("huffman", build("(float[1,64] x) => (float[a,b] y) { y = MatMul(x, w) }", w=weight), notes)
    assert (changes, notes, coded(model)) == (0, [], set())


def test_twice_is_as_good_as_once() -> None:
    once, twice = (run(f"share{{bits=4}},{text}", three())[1] for text in ("huffman", "huffman,huffman"))
    assert coded(once) == coded(twice)
    assert packed(once).SerializeToString(deterministic=True) == packed(twice).SerializeToString(deterministic=True)


@pytest.mark.parametrize("option", ["nodes", "memory"])
def test_impossible_options_are_refused(option: str) -> None:
    with pytest.raises(PipelineError, match=f"{option} must be at least 0, not -1"):
        parse(f"huffman{{{option}=-1}}", PASSES)
    with pytest.raises(PipelineError, match="not a value of type int"):
        parse(f"huffman{{{option}=much}}", PASSES)
    assert parse("huffman{nodes=7 memory=9}", PASSES) == (Huffman(7, 9),)
