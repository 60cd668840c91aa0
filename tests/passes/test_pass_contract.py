"""What holds for every pass on every small model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from small_graphs import MODELS

import onnxsqueeze
from onnxsqueeze.model import Model
from onnxsqueeze.passes import DEFAULT, PASSES
from onnxsqueeze.pipeline import Context, parse, to_text
from onnxsqueeze.pipeline.lower import lower
from onnxsqueeze.verify.tensors import digests, signature_of

VARIANTS = [
    *PASSES,
    "fold{batchnorm=false names=false}",
    "prune{sparsity=0.7}",
    "prune{sparsity=0.6 scope=global minimum=256}",
    "prune{sparsity=0.5 granularity=row norm=2.0}",
    "prune{sparsity=0.5 granularity=block(4x4)}",
    "prune{granularity=2:4 minimum=64}",
    "prune{granularity=2:4 minimum=64 permute=true}",
    "channels{ratio=0.5 multiple=1 minimum=2}",
    "channels{macs=0.3 scope=global saliency=l1}",
    "channels{parameters=0.3 saliency=median}",
    "channels{ratio=0.25 saliency=random}",
    "merge{ratio=0.3}",
    "merge{ratio=0.3 method=pairs}",
    "merge{ratio=0.5 method=clusters}",
    "merge{ratio=0.5 scope=global}",
    "merge{count=2 scaled=false}",
    "merge{mode=1.0 minimum=2}",
    "prune{error=0.1 granularity=kernel}",
    "share{bits=3 init=density}",
    "share{bits=5 init=random scale=none}",
    "share{bits=4 scale=channel}",
    "lowrank{rank=2 minimum=1}",
    "lowrank{ratio=0.5}",
    "lowrank{energy=0.5 scheme=spatial}",
    "depthwise{error=0.9}",
    "depthwise{pairs=1}",
    "equalize{sweeps=1}",
    "fatrelu{threshold=0.3}",
    "fatrelu{threshold=0.3 where=layers}",
    "allocate{loss=0.05 minimum=64}",
    "adapt{seconds=1 device=mobile-soc}",
    "huffman{nodes=0}",
]


def run(text: str, model: onnx.ModelProto, jobs: int = 1) -> tuple[int, Model]:
    """The changes of the passes together, and the model that they leave."""
    changed = Model.load(model)
    steps = parse(text, PASSES)
    names = text.split(",")
    changes = 0
    for number, step in enumerate(steps):
        changes += step(changed, Context(seed=1, jobs=jobs, following=tuple(names[number + 1 :])))
    return changes, changed


def fingerprint(model: Model) -> tuple[bytes, str]:
    """The bytes of the model, and what is known of its weights beyond their values."""
    return model.proto.SerializeToString(deterministic=True), repr(sorted(map(note_text, model.notes.items())))


def note_text(item: tuple[str, Any]) -> str:
    name, note = item
    sharing = note.sharing and (
        note.sharing.codebook.tobytes(),
        note.sharing.scale and note.sharing.scale.codes.tobytes(),
    )
    return f"{name} {sharing} {note.pattern} {note.entropy}"


def outputs(model: onnx.ModelProto) -> list[np.ndarray[Any, Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    feeds = {
        i.name: rng.standard_normal(i.shape).astype(kinds[i.type])
        if i.type in kinds
        else np.ones(i.shape, np.bool_ if "bool" in i.type else np.int64)
        for i in session.get_inputs()
    }
    return session.run(None, feeds)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", VARIANTS)
def test_contract(text: str, name: str) -> None:
    before = MODELS[name]()
    untouched = fingerprint(Model.load(before))
    changes, model = run(text, before)
    model.check()
    onnx.checker.check_model(model.proto, full_check=True)
    assert signature_of(model.proto) == signature_of(before)
    assert (changes == 0) == (fingerprint(model) == untouched), f"{changes} changes"
    assert fingerprint(run(text, MODELS[name](), jobs=3)[1]) == fingerprint(model)
    assert all(np.isfinite(output).all() for output in outputs(model.proto))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", [DEFAULT, "fold,prune,share,huffman", "prune{granularity=2:4 minimum=64},huffman"])
def test_lowered_models_compute_the_same_bits(text: str, name: str) -> None:
    _, model = run(text, MODELS[name]())
    expected = outputs(model.proto)
    lower(model, Context())
    onnx.checker.check_model(model.proto, full_check=True)
    for ours, theirs in zip(outputs(model.proto), expected, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    if model.opset >= 13 and model.proto.functions:
        assert model.inline()
        assert not model.proto.functions
        assert {entry.domain for entry in model.proto.opset_import} <= {"", "ai.onnx"}
        for ours, theirs in zip(outputs(model.proto), expected, strict=True):
            assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_huffman_is_lossless(name: str) -> None:
    before = digests(Model.load(MODELS[name]()))
    assert digests(run("huffman", MODELS[name]())[1]) == before


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [3])
def test_huffman_leaves_shared_weights_as_they_are(name: str, bits: int) -> None:
    plain = run(f"share{{bits={bits}}}", MODELS[name]())[1]
    assert digests(run(f"share{{bits={bits}}},huffman", MODELS[name]())[1]) == digests(plain)


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_job(tmp_path: Path, name: str) -> None:
    onnx.save(MODELS[name](), tmp_path / "in.onnx")
    for inline in (False, True):
        outcome = onnxsqueeze.compress(tmp_path / "in.onnx", tmp_path / f"{inline}.onnx", inline=inline)
        assert outcome.compressed_nbytes <= outcome.original_nbytes
        assert outcome.copied == ((tmp_path / f"{inline}.onnx").read_bytes() == (tmp_path / "in.onnx").read_bytes())
        assert outcome.verification is not None


@pytest.mark.parametrize("text", VARIANTS)
def test_text_prints_back(text: str) -> None:
    steps = parse(text, PASSES)
    assert parse(to_text(steps, PASSES), PASSES) == steps
    assert to_text(parse(to_text(steps, PASSES), PASSES), PASSES) == to_text(steps, PASSES)


@pytest.mark.parametrize("name", PASSES)
def test_every_option_prints_back(name: str) -> None:
    kind = PASSES[name]
    for field in dataclasses.fields(kind):
        for value in ALTERNATIVES[name, field.name]:
            step = kind(**{field.name: value})
            text = to_text([step], PASSES)
            assert f"{field.name}=" in text
            assert parse(text, PASSES) == (step,)


# Other values than the default, for each option.
ALTERNATIVES: dict[tuple[str, str], tuple[Any, ...]] = {
    **{("fold", option): (False,) for option in ("batchnorm", "duplicates", "dead", "names")},
    **{("channels", target): (0.5, 1 / 3) for target in ("ratio", "macs", "parameters")},
    **{("adapt", target): (0.5, 1e-3) for target in ("macs", "seconds", "joules")},
    ("adapt", "device"): ("mobile-soc",),
    ("merge", "ratio"): (0.5, 1 / 3),
    ("merge", "count"): (0, 100),
    ("merge", "mode"): (1.0, 0.25),
    ("merge", "error"): (0.5, 1e-7),
    ("merge", "method"): ("pairs", "moments", "clusters"),
    ("merge", "scope"): ("global",),
    ("merge", "scaled"): (False,),
    ("merge", "minimum"): (2, 100),
    ("channels", "error"): (0.5, 1e-7),
    ("channels", "scope"): ("global",),
    ("channels", "saliency"): ("l1", "l2", "lp", "bn-scale", "median", "activation", "apoz", "taylor", "random"),
    ("channels", "norm"): (1.0, 0.5),
    ("channels", "compensate"): ("none", "mean", "least-squares"),
    ("channels", "multiple"): (1, 64),
    ("channels", "minimum"): (2, 100),
    ("channels", "floor"): (0.0, 0.5),
    ("lowrank", "rank"): (1, 64),
    ("lowrank", "ratio"): (0.5, 1.0),
    ("lowrank", "energy"): (0.99,),
    ("lowrank", "error"): (0.1, 0.0),
    ("lowrank", "scheme"): ("spatial", "channel"),
    ("lowrank", "minimum"): (1, 10**9),
    ("depthwise", "error"): (0.1, 0.0),
    ("depthwise", "pairs"): (1, 9),
    ("depthwise", "minimum"): (1, 10**9),
    ("prune", "sparsity"): (0.1, 1.0, 1e-9, 1 / 3),
    ("prune", "error"): (0.5, 1e-7),
    ("prune", "granularity"): ("row", "column", "kernel", "vector", "filter", "block(3x5)", "2:4"),
    ("prune", "criterion"): ("magnitude", "wanda", "obd", "obs"),
    ("prune", "norm"): (2.0, 0.5),
    ("prune", "scope"): ("global",),
    ("prune", "minimum"): (1, 10**9),
    ("prune", "permute"): (),  # only with an N:M granularity
    ("share", "bits"): (1, 8),
    ("share", "error"): (0.01, 1.0),
    ("share", "init"): ("density", "random"),
    ("share", "scale"): ("channel", "none"),
    ("share", "feedback"): (True, False),
    ("share", "minimum"): (1, 10**9),
    ("equalize", "sweeps"): (1, 100),
    ("fatrelu", "threshold"): (0.5, 0.0),
    ("fatrelu", "sparsity"): (0.9, 1 / 3),
    ("fatrelu", "loss"): (0.05, 0.0),
    ("fatrelu", "where"): ("layers",),
    ("allocate", "loss"): (0.1, 1e-7),
    ("allocate", "size"): (1, 10**12),
    ("allocate", "score"): ("module:function",),
    ("allocate", "minimum"): (64, 10**9),
    ("huffman", "nodes"): (0, 10**9),
    ("huffman", "memory"): (0, 10**6),
}
