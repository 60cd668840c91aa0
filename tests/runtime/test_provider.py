"""The execution provider: what it takes over, that its results are right, and that it bears use by many at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from sparse_models import Array, build, packed, sparse

import onnxsqueeze
from onnxsqueeze.errors import RuntimeUnavailable
from onnxsqueeze.runtime import provider
from onnxsqueeze.runtime.provider import NAME, session_options

BOUND = 2e-6  # of the largest output: sums of up to some thousand products in float32, in another order


def options(folder: Path | None = None, threads: int = 2) -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.log_severity_level = 3
    if folder is not None:
        made.enable_profiling = True
        made.profile_file_prefix = str(folder / "profile")
    return made


def native(
    model: bytes | str, feeds: list[dict[str, Array]], folder: Path, kernel: str = "always", profile: str | None = ""
) -> tuple[Any, int]:
    """Outputs for each of the feeds, and how many nodes ran in the provider."""
    session = onnxruntime.InferenceSession(model, session_options(options(folder), kernel=kernel, profile=profile))
    outputs = [session.run(None, feed) for feed in feeds]
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = {e["name"] for e in events if e.get("args", {}).get("provider") == NAME}
    return outputs, len(ran)


def check(proto: onnx.ModelProto, feeds: list[dict[str, Array]], folder: Path, nodes: int = 1) -> None:
    """The packed model in the provider gives what the dense one gives in stock onnxruntime."""
    dense = onnxruntime.InferenceSession(proto.SerializeToString(), options(), providers=["CPUExecutionProvider"])
    found, ran = native(packed(proto), feeds, folder)
    assert ran == nodes
    for feed, outputs in zip(feeds, found, strict=True):
        for output, expected in zip(outputs, dense.run(None, feed), strict=True):
            assert output.shape == expected.shape
            assert np.abs(output - expected).max(initial=0) <= BOUND * np.abs(expected).max(initial=1)


def batches(columns: int, *sizes: int) -> list[dict[str, Array]]:
    return [{"x": sparse(size, columns, zeros=0.2, seed=size)} for size in sizes]


SIZES = (0, 1, 2, 3, 16, 17, 64, 65, 130)


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.97, 0.999])
@pytest.mark.parametrize("values", [None, 15], ids=["raw", "shared"])
def test_gemm(zeros: float, values: int | None, tmp_path: Path) -> None:
    if zeros == 0 and values is None:
        return  # nothing to pack
    text = "(float[n,150] x) => (float[n,77] y) { y = Gemm <transB=1> (x, w, b) }"
    weight = sparse(77, 150, zeros=zeros, values=values)
    check(build(text, w=weight, b=sparse(77, zeros=0)), batches(150, *SIZES), tmp_path)


@pytest.mark.parametrize(
    "after",
    [
        "",
        "m = Add(h, b)  y = Identity(m)",
        "m = Add(b, h)  y = Relu(m)",
        "y = Relu(h)",
        "m = Add(h, b)  y = Clip(m, low, high)",
        "m = Add(h, b)  y = Clip(m, low)",
        "m = Add(h, b)  y = Clip(m, high, low)",
        "y = ThresholdedRelu <alpha=0.25> (h)",
        "m = Add(h, b)  y = ThresholdedRelu(m)",
        "y = HardSwish(h)",
        "m = Add(h, b)  y = Gelu(m)",
    ],
)
def test_what_follows_a_product(after: str, tmp_path: Path) -> None:
    text = f"(float[n,70] x, float low0) => (float[n,90] y) {{ h = MatMul(x, w) {after or 'y = Identity(h)'} }}"
    bounds = {"low": np.array(-0.25, np.float32), "high": np.array(0.5, np.float32)}
    tensors = {"w": sparse(70, 90), "b": sparse(90, zeros=0)} | bounds
    used = {name: value for name, value in tensors.items() if name == "w" or name in after.replace(",", " ").split()}
    used |= {name: value for name, value in bounds.items() if name in after} | (
        {"b": tensors["b"]} if "b" in after else {}
    )
    model = build(text.replace(", float low0", ""), 20, **used)
    check(model, batches(70, 1, 5, 40), tmp_path)


def test_products_of_other_ranks(tmp_path: Path) -> None:
    for shape in ("a,b,64", "64"):
        text = f"(float[{shape}] x) => (float[{shape.replace('64', '33')}] y) {{ y = MatMul(x, w) }}"
        feeds = [{"x": sparse(*size, zeros=0)} for size in ([(2, 3, 64), (1, 1, 64)] if "a" in shape else [(64,)])]
        check(build(text, w=sparse(64, 33)), feeds, tmp_path)


def convolution(attributes: str, weight: Array, bias: bool = False) -> onnx.ModelProto:
    dims = ",".join("abc"[: weight.ndim - 1])
    text = f"(float[n,{dims}] x) => (float[n,{dims.replace('a', 'o')}] y) {{ "
    text += f"h = Conv <{attributes}> (x, w{', b' if bias else ''})  y = Relu(h) }}"
    tensors = {"w": weight} | ({"b": sparse(len(weight), zeros=0)} if bias else {})
    return build(text, **tensors)


@pytest.mark.parametrize(
    "attributes",
    [
        "group=1",
        "pads=[1,1,1,1]",
        "strides=[2,2], pads=[1,1,1,1]",
        "strides=[3,1], pads=[0,2,1,0], dilations=[2,1]",
        "dilations=[3,2]",
        'auto_pad="SAME_UPPER", strides=[2,2]',
        'auto_pad="SAME_LOWER", strides=[2,3]',
        'auto_pad="VALID"',
    ],
)
def test_convolutions(attributes: str, tmp_path: Path) -> None:
    model = convolution(attributes, sparse(20, 12, 3, 3), bias=True)
    feeds = [{"x": sparse(n, 12, h, w, zeros=0)} for n, h, w in ((1, 9, 9), (2, 17, 30), (0, 9, 9), (1, 40, 8))]
    check(model, feeds, tmp_path)


def test_convolutions_of_other_kinds(tmp_path: Path) -> None:
    check(convolution("group=1", sparse(70, 40, 1, 1)), [{"x": sparse(2, 40, 13, 7, zeros=0)}], tmp_path)
    check(convolution("strides=[2,2]", sparse(70, 40, 1, 1)), [{"x": sparse(1, 40, 9, 9, zeros=0)}], tmp_path)
    check(convolution("group=4", sparse(64, 20, 3, 3, zeros=0.8)), [{"x": sparse(1, 80, 9, 9, zeros=0)}], tmp_path)
    check(convolution("group=400", sparse(800, 1, 3, 3, zeros=0.8)), [{"x": sparse(1, 400, 9, 9, zeros=0)}], tmp_path)
    line = convolution("pads=[2,1], strides=[2], dilations=[2]", sparse(24, 16, 5))
    check(line, [{"x": sparse(3, 16, 50, zeros=0)}], tmp_path)


def test_patterns_and_scales(tmp_path: Path) -> None:
    """2:4 weights, and shared ones with a scale per channel, through the pipeline."""
    text = "(float[n,128] x) => (float[n,96] y) { y = Gemm(x, w) }"
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    model = build(text, w=sparse(128, 96, zeros=0) * np.geomspace(1, 30, 96, dtype=np.float32))
    onnx.save(model, source)
    for passes in ("prune{granularity=2:4}", "prune{sparsity=0.8},share{bits=4},huffman", "share{bits=3}"):
        onnxsqueeze.compress(source, target, passes)
        stock = onnxruntime.InferenceSession(str(target), options(), providers=["CPUExecutionProvider"])
        feeds = batches(128, 1, 20)
        found, ran = native(str(target), feeds, tmp_path)
        assert ran == 1
        for feed, (output,) in zip(feeds, found, strict=True):
            (expected,) = stock.run(None, feed)
            assert np.abs(output - expected).max() <= BOUND * np.abs(expected).max()


@pytest.mark.parametrize(
    "text",
    [
        "(float[n,64] x) => (float[n,64] y) { h = MatMul(x, w)  y = MatMul(h, w) }",
        "(float[n,64] x) => (float[n,64] y) { t = Transpose(w)  y = MatMul(x, t) }",
        "(float[n,64] x) => (float[n,64] y) { y = Gemm <alpha=2.0> (x, w) }",
        "(float[n,64] x) => (float[n,64] y) { y = Gemm <transA=1> (x, w) }",
        "(float[n,64] x) => (float[64,64] y) { m = MatMul(x, w)  y = Add(w, w) }",
    ],
)
def test_what_is_left_to_onnxruntime(text: str, tmp_path: Path) -> None:
    check(build(text, w=sparse(64, 64)), [{"x": sparse(64, 64, zeros=0)}], tmp_path, nodes=0)


def test_weights_inside_of_branches(tmp_path: Path) -> None:
    text = """(float[n,64] x, bool c) => (float[n,64] y) {
        y = If(c) <then_branch = t () => (float[n,64] p) { p = MatMul(x, w) },
                   else_branch = e () => (float[n,64] q) { q = Neg(x) }> }"""
    model = build(text)
    branch = model.graph.node[0].attribute[0].g
    branch.initializer.append(numpy_helper.from_array(sparse(64, 64), "w"))
    feeds = [{"x": sparse(3, 64, zeros=0), "c": np.array(value)} for value in (True, False)]
    dense = onnxruntime.InferenceSession(model.SerializeToString(), options(), providers=["CPUExecutionProvider"])
    found, _ = native(packed(model), feeds, tmp_path)
    for feed, (output,) in zip(feeds, found, strict=True):
        assert np.allclose(output, dense.run(None, feed)[0], atol=1e-6)


def test_dense_weights_stay_with_onnxruntime_by_default(tmp_path: Path) -> None:
    text = "(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }"
    for zeros, nodes in ((0.5, 0), (0.95, 1)):
        model = packed(build(text, w=sparse(150, 100, zeros=zeros)))
        assert native(model, batches(150, 1), tmp_path, "auto")[1] == nodes
        assert native(model, batches(150, 1), tmp_path, "never")[1] == 0


def test_results_do_not_depend_on_threads(tmp_path: Path) -> None:
    proto = convolution("pads=[1,1,1,1]", sparse(130, 30, 3, 3))
    model, feed = packed(proto), {"x": sparse(1, 30, 40, 40, zeros=0)}
    results = set()
    for threads in (1, 2, 3):
        session = onnxruntime.InferenceSession(model, session_options(options(threads=threads), kernel="always"))
        results.add(session.run(None, feed)[0].tobytes())
    assert len(results) == 1


def test_many_runs_and_sessions_at_once() -> None:
    model = packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100)))
    sessions = [onnxruntime.InferenceSession(model, session_options(options(), kernel="always")) for _ in range(3)]
    feeds = batches(150, 1, 2, 20, 70)
    expected = [sessions[0].run(None, feed)[0].tobytes() for feed in feeds]
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(30):
            place = (turn + number) % len(feeds)
            if sessions[number % 3].run(None, feeds[place])[0].tobytes() != expected[place]:
                wrong.append(f"thread {number}, turn {turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


MAKE = """
import gc, os, sys, onnxruntime, numpy as np
from onnxsqueeze.runtime.provider import session_options
def opened():
    options = session_options(kernel="always")
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(sys.argv[1], options, enable_fallback=0)
def run(session):
    return session.run(None, {"x": np.ones((2, 150), np.float32)})[0].tobytes()
session = opened()
gc.collect()
first = run(session)
"""
SCENES = {
    "a session that outlives its options": "run(session) == first",
    "a session that goes after others have come": "other = opened(); del session; gc.collect(); run(other) == first",
    "a fork before onnxruntime has threads": """
options = session_options(kernel="always")
options.intra_op_num_threads, options.log_severity_level = 1, 4
session = onnxruntime.InferenceSession(sys.argv[1], options, enable_fallback=0)
child = os.fork()
if child == 0:
    os._exit(0 if run(session) == first and run(opened()) == first else 1)
os.waitpid(child, 0)[1] == 0 and run(session) == first
""",
}


@pytest.mark.parametrize("scene", SCENES)
def test_life_and_death(scene: str, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100))))
    *before, last = SCENES[scene].strip().split("\n")
    *more, last = last.split("; ")
    code = "\n".join([MAKE, *before, *more, f"sys.exit(0 if {last} else 'not as before')"])
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_real_models(name: str, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    onnxsqueeze.compress(f"zoo:{name}", target, "prune{sparsity=0.9},share{bits=5},huffman")
    stock = onnxruntime.InferenceSession(str(target), options(), providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 5 for d in stock.get_inputs()[0].shape]
    feed = {stock.get_inputs()[0].name: np.random.default_rng(0).random(shape, np.float32)}
    found, ran = native(str(target), [feed], tmp_path)
    assert ran >= 3
    expected = stock.run(None, feed)[0]
    assert np.abs(found[0][0] - expected).max() <= BOUND * np.abs(expected).max()


def test_wrong_input_shapes_are_errors() -> None:
    model = packed(build("(float[n,k] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100)))
    session = onnxruntime.InferenceSession(model, session_options(options(), kernel="always"))
    with pytest.raises(Exception, match="last dimension is not 150"):
        session.run(None, {"x": np.zeros((2, 149), np.float32)})


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="auto, always, never"):
        session_options(kernel="often")
    for skip_zeros in ("auto", "1", 0.5, 2):
        with pytest.raises(ValueError, match=f"skip_zeros must be None, True or False, not {skip_zeros!r}"):
            session_options(skip_zeros=skip_zeros)  # type: ignore[arg-type]
    wrong = session_options(options())
    wrong.add_session_config_entry(f"ep.{NAME.lower()}.kernel", "often")
    model = packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100)))
    with pytest.raises(Exception, match="give auto, always or never"):
        onnxruntime.InferenceSession(model, wrong, enable_fallback=0)
    monkeypatch.setattr(onnxruntime, "__version__", "1.22.0")
    assert not provider.is_available()
    with pytest.raises(RuntimeUnavailable, match=r"1\.23\.1"):
        session_options()
    for release in ("1.22.0", "1.25.0"):
        monkeypatch.setattr(onnxruntime, "__version__", release)
        with pytest.raises(RuntimeUnavailable, match=r"by its name .*runtime\.load"):
            provider.register()


def test_sessions_ask_for_it_by_name(tmp_path: Path) -> None:
    provider.register()
    model = packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100, zeros=0.5)))
    for name in (NAME, (NAME, {"kernel": "always"})):
        session = onnxruntime.InferenceSession(model, options(tmp_path), providers=[name])
        assert session.get_providers()[0] == NAME
        session.run(None, batches(150, 1)[0])
        events = json.loads(Path(session.end_profiling()).read_text())
        ran = any(event.get("args", {}).get("provider") == NAME for event in events)
        assert ran == (name != NAME), "half of the zeros is too few, unless the option says otherwise"
