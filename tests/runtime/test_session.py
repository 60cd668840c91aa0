"""Opening a compressed model in one call: what the provider runs stays packed, the rest is decoded natively."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sparse_models import Array, build, packed, sparse

from onnxsqueeze.errors import ModelError, SqueezeError
from onnxsqueeze.model import Model
from onnxsqueeze.pipeline.provided import provided
from onnxsqueeze.runtime import load, session_options
from onnxsqueeze.runtime.provider import NAME

CPU = "CPUExecutionProvider"
CODEBOOK = 16  # values


def quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A layer that is sparse, one that is not, one whose weight two nodes share, and one in which rows are fixed."""
    text = """(float[n,150] x, float[1,100] z) => (float[n,64] y, float[1,64] u) {
        h = MatMul(x, few)  g = Gemm(h, many, bias)  k = MatMul(g, twice)  y = MatMul(k, twice)
        u = MatMul(z, vector) }"""
    tensors = {
        "few": sparse(150, 100, zeros=0.95),
        "many": sparse(100, 64, zeros=0.05, values=CODEBOOK),
        "bias": sparse(64, zeros=0),
        "twice": sparse(64, 64, zeros=0.95),
        "vector": sparse(100, 64, zeros=0.05, values=CODEBOOK),
    }
    path = tmp_path / "model.onnx"
    path.write_bytes(packed(build(text, **tensors)))
    return path


@pytest.fixture
def _all_weights_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxsqueeze.runtime.session.LITTLE", 0)


def feeds(rows: int) -> dict[str, Array]:
    return {"x": sparse(rows, 150, zeros=0), "z": sparse(1, 100, zeros=0)}


@pytest.mark.usefixtures("_all_weights_matter")
@pytest.mark.parametrize("providers", [None, [NAME, CPU], [NAME]])
def test_what_the_provider_runs_stays_packed(model: Path, providers: Any) -> None:
    session = load(model, quiet(), providers)
    assert NAME in session.get_providers()
    assert not {"few", "vector"} & set(session.onnxsqueeze_weights)
    assert {"many", "twice"} <= set(session.onnxsqueeze_weights)
    stock = onnxruntime.InferenceSession(model, providers=[CPU])
    for rows in (1, 7):
        for found, expected in zip(session.run(None, feeds(rows)), stock.run(None, feeds(rows)), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_where_little_is_left_the_file_is_opened_as_it_is(model: Path) -> None:
    session = load(model, quiet())
    assert session.get_providers() == [NAME, CPU] and session.onnxsqueeze_weights == {}
    stock = onnxruntime.InferenceSession(model, providers=[CPU])
    for found, expected in zip(session.run(None, feeds(4)), stock.run(None, feeds(4)), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_on_the_cpu_outputs_are_those_of_stock_onnxruntime(model: Path) -> None:
    for session in (load(model, quiet(), [CPU]), load(model, quiet(), kernel="never")):
        assert session.get_providers() == [CPU]
        stock = onnxruntime.InferenceSession(model, providers=[CPU])
        for found, expected in zip(session.run(None, feeds(5)), stock.run(None, feeds(5)), strict=True):
            assert found.tobytes() == expected.tobytes()


def test_what_is_said_to_stay_packed_is_what_the_provider_takes(model: Path, tmp_path: Path) -> None:
    for kernel in ("auto", "always", "never"):
        account = tmp_path / f"{kernel}.jsonl"
        account.touch()
        options = session_options(quiet(), kernel=kernel, account=account, profile="")
        onnxruntime.InferenceSession(model, options, enable_fallback=0)
        taken = {line.split('"')[3] for line in account.read_text().splitlines() if '"kernel": ""' not in line}
        assert set(provided(Model.load(model), kernel, "")) == taken


@pytest.mark.parametrize("zeros", [0.0, 0.1, 0.35, 0.6])
def test_zeros_are_told_from_the_codes(zeros: float, tmp_path: Path) -> None:
    """Where they may matter, without a doubt; where they do not, nothing is decoded to count them."""
    weight = sparse(300, 100, zeros=zeros, values=4)
    path, account = tmp_path / "model.onnx", tmp_path / "account.jsonl"
    path.write_bytes(packed(build("(float[n,300] x) => (float[n,100] y) { y = MatMul(x, w) }", w=weight)))
    onnxruntime.InferenceSession(path, session_options(quiet(), account=account, profile=""), enable_fallback=0)
    share = f"{100 * np.mean(weight == 0):.1f} % zeros" if zeros > 0.3 else "few zeros"
    assert share in account.read_text()


def test_a_dense_model_opens_too(tmp_path: Path) -> None:
    path = tmp_path / "dense.onnx"
    path.write_bytes(
        build("(float[n,20] x) => (float[n,30] y) { y = MatMul(x, w) }", w=sparse(20, 30)).SerializeToString()
    )
    for providers in (None, [NAME, CPU]):
        assert load(path, quiet(), providers).run(None, {"x": np.ones((2, 20), np.float32)})[0].shape == (2, 30)


@pytest.mark.usefixtures("_all_weights_matter")
@pytest.mark.parametrize("providers", [None, [CPU]])
def test_options_serve_one_session(model: Path, providers: Any, tmp_path: Path) -> None:
    """Otherwise a second model would run with the weights of the first, whose names may be the same."""
    other = tmp_path / "other.onnx"
    weights = {"few": sparse(150, 100, zeros=0.95, seed=1)}
    other.write_bytes(packed(build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, few) }", **weights)))
    made = quiet()
    with pytest.raises(ModelError):
        load(tmp_path / "missing.onnx", made, providers)
    load(model, made, providers)  # options that nothing was added to may be given again
    for call in (lambda: load(other, made, providers), lambda: session_options(made)):
        with pytest.raises(SqueezeError, match=r"serve one session.*make new onnxruntime\.SessionOptions\(\)"):
            call()
    made = session_options(quiet())
    for call in (lambda: load(other, made), lambda: session_options(made)):
        with pytest.raises(SqueezeError, match="serve one session"):
            call()


@pytest.mark.parametrize("providers", [None, [NAME], [CPU]])
def test_wrong_arguments_are_refused_whatever_the_provider(model: Path, providers: Any) -> None:
    with pytest.raises(ValueError, match="kernel must be one of auto, always, never, not 'fast'"):
        load(model, quiet(), providers, kernel="fast")
    for threads in (0, -3):
        with pytest.raises(ValueError, match=f"threads must be 1 or more, not {threads}"):
            load(model, quiet(), providers, threads=threads)


def test_refusals(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="goes with CPUExecutionProvider only, not with CUDAExecutionProvider"):
        load(model, providers=[NAME, "CUDAExecutionProvider"])
    (tmp_path / "broken.onnx").write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ModelError):
        load(tmp_path / "broken.onnx")
