"""The profile of a machine's kernels: kept, read again, and what the provider makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
from sparse_models import build, packed, sparse
from test_provider import batches, native, options

from onnxsqueeze.model import Model
from onnxsqueeze.pipeline.provided import provided
from onnxsqueeze.runtime import profile
from onnxsqueeze.runtime.provider import NAME, session_options

NUMBERS = dict.fromkeys(profile.SPARSE, 0.6) | dict.fromkeys(profile.SHARED, 4) | {profile.SKIPPING: 0.8}


def test_a_profile_is_kept() -> None:
    assert profile.read_profile() == ""
    text = profile.write_profile(NUMBERS)
    assert profile.read_profile() == text
    assert [path.name for path in profile.cache_folder().iterdir()] == [profile.profile_path().name]


@pytest.mark.parametrize("text", ["", "vector=0.5", "few=x", "\0", "vector=0.5,few", "other=1," + "vector=0.5"])
def test_what_is_no_profile_counts_for_nothing(text: str) -> None:
    profile.write_profile(NUMBERS)
    profile.profile_path().write_text(text)
    assert profile.read_profile() == ""


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_make_no_profile(number: float) -> None:
    profile.write_profile(NUMBERS | {"few": number})
    assert profile.read_profile() == ""


@pytest.mark.parametrize(("name", "columns"), [("cached", 100), ("vector", 2200)])
def test_the_choice_goes_by_it(name: str, columns: int, tmp_path: Path) -> None:
    text = f"(float[1,150] x) => (float[1,{columns}] y) {{ y = MatMul(x, w) }}"
    model = packed(build(text, w=sparse(150, columns, zeros=0.65)))
    for least, nodes in ((0.6, 1), (0.7, 0), (1.01, 0)):
        profile.write_profile(NUMBERS | {name: least})
        assert native(model, batches(150, 1), tmp_path, "auto", None)[1] == nodes


@pytest.mark.parametrize(("size", "nodes"), [("1,1", 0), ("3,5", 0), ("4,4", 1), ("7,7", 1), ("h,w", 1)])
def test_convolutions_of_few_positions_stay(size: str, nodes: int, tmp_path: Path) -> None:
    weight = sparse(64, 64, 1, 1, zeros=0.99)  # enough also where the size is not known
    model = packed(build(f"(float[1,64,{size}] x) => (float[1,64,{size}] y) {{ y = Conv(x, w) }}", w=weight))
    shape = [int(side) if side.isdigit() else 8 for side in size.split(",")]
    assert native(model, [{"x": sparse(1, 64, *shape)}], tmp_path, "auto", None)[1] == nodes
    assert len(provided(Model.load(onnx.ModelProto.FromString(model)), "auto", "")) == nodes


@pytest.mark.parametrize(("size", "zeros", "nodes"), [("9,9", 0.75, 1), ("h,w", 0.75, 0), ("h,w", 0.9, 1)])
def test_outputs_of_unknown_size_need_more_zeros(size: str, zeros: float, nodes: int, tmp_path: Path) -> None:
    """They may have few positions: a ShuffleNet whose last ones have four lost time at 60 % zeros."""
    profile.write_profile(NUMBERS)
    text = f"(float[1,256,{size}] x) => (float[1,256,{size}] y) {{ y = Conv(x, w) }}"
    model = packed(build(text, w=sparse(256, 256, 1, 1, zeros=zeros)))
    assert native(model, [{"x": sparse(1, 256, 9, 9)}], tmp_path, "auto", None)[1] == nodes
    assert len(provided(Model.load(onnx.ModelProto.FromString(model)), "auto", profile.read_profile())) == nodes


@pytest.mark.parametrize(("length", "nodes"), [("9", 0), ("90", 1), ("l", 0)])
def test_sequences_of_unknown_length_stay(length: str, nodes: int, tmp_path: Path) -> None:
    model = packed(
        build(f"(float[1,64,{length}] x) => (float[1,64,{length}] y) {{ y = Conv(x, w) }}", w=sparse(64, 64, 1))
    )
    feeds = [{"x": sparse(1, 64, int(length) if length.isdigit() else 8)}]
    assert native(model, feeds, tmp_path, "auto", None)[1] == nodes
    assert len(provided(Model.load(onnx.ModelProto.FromString(model)), "auto", "")) == nodes


def test_an_unknown_batch_counts_as_the_worst(tmp_path: Path) -> None:
    model = packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100, zeros=0.75)))
    for most, nodes in ((0.6, 1), (0.8, 0)):
        profile.write_profile(NUMBERS | {"many": most})
        assert native(model, batches(150, 1), tmp_path, "auto", None)[1] == nodes


def test_few_outputs_are_not_worth_laying_out_inputs(tmp_path: Path) -> None:
    for outputs, nodes in ((30, 0), (300, 1)):
        weight = sparse(300, outputs, zeros=0.97)
        model = packed(build(f"(float[100,300] x) => (float[100,{outputs}] y) {{ y = MatMul(x, w) }}", w=weight))
        assert native(model, batches(300, 100), tmp_path, "auto", None)[1] == nodes


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("y = Conv(x, w)", 1),
        ("d = Conv <group=64, pads=[1,1,1,1]> (x, k)  r = Relu(d)  y = Conv(r, w)", 0),
        ("c = Conv(x, w)  r = Relu(c)  y = Conv <group=64, pads=[1,1,1,1]> (r, k)", 0),
    ],
)
def test_convolutions_between_depthwise_ones_need_more_zeros(text: str, nodes: int, tmp_path: Path) -> None:
    profile.write_profile(NUMBERS | {"pointwise": 0.7})
    tensors = {"w": sparse(64, 64, 1, 1, zeros=0.85)} | ({"k": sparse(64, 1, 3, 3, zeros=0)} if "k" in text else {})
    model = packed(build(f"(float[1,64,8,8] x) => (float[1,64,8,8] y) {{ {text} }}", **tensors))
    assert native(model, [{"x": sparse(1, 64, 8, 8)}], tmp_path, "auto", None)[1] == nodes


PARTS = {
    "k": sparse(64, 64, 1, 1, zeros=0),
    "a": sparse(64, 64, 1, 1, zeros=0.85),
    "b": sparse(64, 64, 1, 1, zeros=0.85),
}


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("c = Conv(x, a)  r = Relu(c)  y = Conv(r, b)", 2),
        ("c = Conv(x, k)  r = Relu(c)  y = Conv(r, b)", 0),
        ("c = Conv(x, a)  r = Relu(c)  y = Conv(r, k)", 0),
        ("c = Conv(x, k)  d = Conv(x, a)  s = Add(c, d)  r = Relu(s)  y = Conv(r, b)", 1),
    ],
)
def test_convolutions_next_to_dense_ones_need_more_zeros(text: str, nodes: int, tmp_path: Path) -> None:
    """Those that stay dense have another layout, and what lies between them is brought from one to the other."""
    profile.write_profile(NUMBERS | {"pointwise": 0.7})
    tensors = {name: PARTS[name] for name in PARTS if f", {name})" in text}
    model = packed(build(f"(float[1,64,8,8] x) => (float[1,64,8,8] y) {{ {text} }}", **tensors))
    assert native(model, [{"x": sparse(1, 64, 8, 8)}], tmp_path, "auto", None)[1] == nodes


WRONG = ["vector", "vector=", "vector=0.5x", "other=1", "vector=0.5,,few=1", "few=nan", "few=inf", "few=1e999"]


@pytest.mark.parametrize("text", WRONG)
def test_the_provider_refuses_what_is_none(text: str) -> None:
    model = packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100)))
    wrong = session_options(options())
    wrong.add_session_config_entry(f"ep.{NAME.lower()}.profile", text)
    with pytest.raises(Exception, match="profile has a bad entry"):
        onnxruntime.InferenceSession(model, wrong, enable_fallback=0)


IN_GERMAN = """
import locale, sys, onnxruntime
from onnxsqueeze.runtime import load, session_options
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.localeconv()["decimal_point"] == ","
made = session_options(profile="vector=0.6,cached=0.6")
made.log_severity_level = 4
print(onnxruntime.InferenceSession(sys.argv[1], made, enable_fallback=0).get_providers()[0])
print(load(sys.argv[1]).get_providers()[0])
"""


@pytest.mark.skipif(shutil.which("localedef") is None, reason="needs localedef, to make a German locale")
def test_numbers_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], capture_output=True)
    if made.returncode > 1:  # 1: with warnings
        pytest.skip("the system has no German locale")
    profile.write_profile(NUMBERS)
    model = tmp_path / "model.onnx"
    model.write_bytes(packed(build("(float[1,150] x) => (float[1,100] y) { y = MatMul(x, w) }", w=sparse(150, 100))))
    done = subprocess.run(
        [sys.executable, "-c", IN_GERMAN, model],
        env=os.environ | {"LOCPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.split(), done.stderr) == ([NAME, NAME], "")


@pytest.mark.parametrize("rows", ["1", "n"])
@pytest.mark.parametrize("move", ["Identity(r)", "Flatten(r)"])
def test_zeros_behind_a_threshold_are_skipped(rows: str, move: str, tmp_path: Path) -> None:
    text = f"""(float[{rows},150] x) => (float[{rows},100] y) {{
        r = ThresholdedRelu <alpha=0.5> (x)  h = {move}  y = MatMul(h, w) }}"""
    model, account = packed(build(text, w=sparse(150, 100))), tmp_path / "account.jsonl"
    for zeros, skip, kernel in ((0.8, None, "sparse, skipping zeros"), (0.8, False, "sparse"), (1.01, None, "sparse")):
        account.write_text("")
        own = ",".join(f"{name}={number}" for name, number in (NUMBERS | {profile.SKIPPING: zeros}).items())
        made = session_options(options(), skip_zeros=skip, profile=own, account=account)
        session = onnxruntime.InferenceSession(model, made, enable_fallback=0)
        assert f'"kernel": "{kernel}"' in account.read_text()
        dense = onnxruntime.InferenceSession(model, options(), providers=["CPUExecutionProvider"])
        for scale in (0.1, 0.4, 3):  # all zero, most, few
            for feed in batches(150, *([1] if rows == "1" else [1, 3, 20])):
                feed["x"] *= scale
                assert abs(session.run(None, feed)[0] - dense.run(None, feed)[0]).max() < 1e-5


def test_zeros_of_the_input_are_skipped(tmp_path: Path) -> None:
    model = packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100)))
    feeds = [{"x": sparse(rows, 150, zeros=0.8)} for rows in (1, 3, 20)]
    expected, _ = native(model, feeds, tmp_path)
    for feed, (want,) in zip(feeds, expected, strict=True):
        session = onnxruntime.InferenceSession(model, session_options(options(), kernel="always", skip_zeros=True))
        assert abs(session.run(None, feed)[0] - want).max() < 1e-5
