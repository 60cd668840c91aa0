"""The originals do well on their own tasks; scorers notice a broken model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from onnxsqueeze import zoo
from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo.chinese import words
from onnxsqueeze.zoo.score import Score, _distance, sample_inputs, sample_kind, score, scores


def test_edit_distance() -> None:
    assert [_distance("kitten", "sitting"), _distance("", "abc"), _distance("same", "same")] == [3, 3, 0]


def test_models_without_labelled_data_say_so() -> None:
    with pytest.raises(ModelError, match=r"^zoo model 'tumor-vgg16' has no score"):
        score("tumor-vgg16", "x.onnx")


def test_unreadable_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^cannot open .*missing.onnx' to score it"):
        score("lenet-5", tmp_path / "missing.onnx")


@pytest.mark.parametrize(("name", "parameters"), [("lenet-300-100", 266_610), ("lenet-5", 431_080)])
def test_lenets_have_their_size_and_their_error_on_record(name: str, parameters: int) -> None:
    model = onnx.load(zoo.fetch(name))
    onnx.checker.check_model(model, full_check=True)
    assert sum(numpy_helper.to_array(weight).size for weight in model.graph.initializer) == parameters
    assert float({prop.key: prop.value for prop in model.metadata_props}["test_error_percent"]) < 2


@pytest.mark.zoo
@pytest.mark.parametrize(("name", "least"), [("lenet-300-100", 98.3), ("lenet-5", 99.05)])
def test_lenets_read_digits(name: str, least: float) -> None:
    model = onnx.load(zoo.fetch(name))
    result = score(name, zoo.fetch(name))
    assert result.value >= least and result.samples == 10_000
    recorded = float({prop.key: prop.value for prop in model.metadata_props}["test_error_percent"])
    assert 100 - result.value == pytest.approx(recorded, abs=0.02)


@pytest.mark.zoo
def test_scorers_notice_damage() -> None:
    model = onnx.load(zoo.fetch("lenet-300-100"))
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(weight)), weight.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert score("lenet-300-100", session, limit=1000).value < 20


@pytest.mark.zoo
def test_basic_pitch_hears_notes() -> None:
    assert score("basic-pitch", zoo.fetch("basic-pitch"), limit=5).value > 80


@pytest.mark.zoo
def test_recognition_reads_rendered_lines() -> None:
    characters, lines = scores("ppocr-rec", zoo.fetch("ppocr-rec"), limit=40)
    assert characters.value > 95 and lines.value > 80
    assert lines.samples == 40 and isinstance(lines, Score)


@pytest.mark.zoo
def test_orientation_and_detection() -> None:
    assert score("ppocr-cls", zoo.fetch("ppocr-cls"), limit=40).value > 90
    assert score("ppocr-det", zoo.fetch("ppocr-det"), limit=2).value > 90


@pytest.mark.zoo
@pytest.mark.parametrize("name", ["silero-vad", "silero-vad-sequence"])
def test_silero_hears_speech(name: str) -> None:
    result = score(name, zoo.fetch(name), limit=2000)
    assert result.value > 98 and result.samples == 2000


@pytest.mark.zoo
def test_lac_cuts_news_into_words() -> None:
    assert score("lac-encoder", zoo.fetch("lac-encoder"), limit=20).value > 70


@pytest.mark.zoo
def test_words_begin_where_labels_say() -> None:
    labels = {"n-B": 14, "n-I": 15, "v-B": 38}
    emissions = np.full((4, 59), -100, np.float32)
    for place, label in enumerate(("n-B", "n-I", "v-B", "n-B")):
        emissions[place, labels[label]] = 100
    assert words("今天下雨", emissions) == ["今天", "下", "雨"]


@pytest.mark.zoo
def test_efficientnet_knows_photographs() -> None:
    assert score("efficientnet-lite0", zoo.fetch("efficientnet-lite0")) == Score(
        "ImageNet top-1 accuracy on 20 photographs", 90.0, 20
    )


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name", ["lenet-5", "ppocr-cls", "basic-pitch", "deepcut", "wake-alexa", "silero-vad", "lac-encoder"]
)
def test_sample_inputs_run_and_repeat(name: str) -> None:
    session = onnxruntime.InferenceSession(zoo.fetch(name), providers=["CPUExecutionProvider"])
    first, again = sample_inputs(name, 2, seed=3), sample_inputs(name, 2, seed=3)
    assert len(first) == 2 and sample_kind(name)
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)
        assert all(np.isfinite(output).all() for output in session.run(None, one))
