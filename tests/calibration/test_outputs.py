"""Which outputs are decisions: scores over classes are, boxes and landmarks beside a distribution are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper, parser
from scipy.special import log_softmax, softmax

from onnxsqueeze.calibration.loss import Reference
from onnxsqueeze.calibration.outputs import class_axes
from onnxsqueeze.model import Model

Array = np.ndarray[Any, Any]

HEADS = "z = MatMul(x, a)  b = Gemm(x, c, d)"
TENSORS = {"a": (8, 2), "c": (8, 4), "d": (4,), "e1": (8, 1)}


def axes(body: str, *outputs: str) -> dict[str, int]:
    listed = ", ".join(f"float[n,m] {name}" for name in outputs)
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[n,8] x) => ({listed}) {{ {body} }}'
    made = parser.parse_model(text)
    for name, shape in TENSORS.items():
        made.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    made.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "open"))
    return class_axes(Model.load(made))


def test_products_are_scores_where_nothing_else_is_said() -> None:
    assert axes(HEADS, "z") == {"z": -1}
    assert axes(HEADS, "z", "b") == {"z": -1, "b": -1}


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_boxes_beside_a_distribution_are_values(kind: str) -> None:
    assert axes(f"{HEADS}  p = {kind}(z)", "b", "p") == {"p": -1}
    assert axes(f"{HEADS}  p = {kind}(z)", "b", "z", "p") == {"z": -1, "p": -1}, "logits of their own"


def test_boxes_beside_a_sigmoid_are_values() -> None:
    assert axes(f"{HEADS}  p = Sigmoid(z)", "b", "p") == {}


def kinds(outputs: dict[str, Array], known: dict[str, int]) -> dict[str, str]:
    runs = [list(outputs.values())]
    return {o.output: o.kind for o in Reference(list(outputs), known, runs).compare(runs).outputs}


def test_what_turns_out_to_be_a_distribution_counts_too() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    boxes = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    known = {"boxes": -1, "logits": -1}
    shares = softmax(rows, axis=-1)
    found = kinds({"boxes": boxes, "logits": rows, "shares": shares}, known)
    assert found == {"boxes": "variance", "logits": "decisions", "shares": "decisions"}
    assert kinds({"boxes": boxes, "logits": rows}, known) == dict.fromkeys(known, "decisions")
    logs = kinds({"logits": log_softmax(rows, axis=-1), "shares": shares[:, ::-1]}, {"logits": -1})
    assert set(logs.values()) == {"decisions"}


def test_one_score_of_each_row_is_no_decision_among_rows() -> None:
    assert axes("e = MatMul(x, e1)  y = Reshape(e, open)", "y") == {}


def test_sizes_that_differ_from_sample_to_sample_are_no_classes() -> None:
    random = np.random.default_rng(0)
    runs = [[random.standard_normal(size).astype(np.float32)] for size in (3, 5, 4)]
    loss = Reference(["y"], {"y": -1}, runs).compare(runs)
    assert [(o.kind, o.value, o.count) for o in loss.outputs] == [("variance", 0.0, 12)]
    over_time = [[softmax(run[0])] for run in runs]
    assert Reference(["y"], {}, over_time).compare(over_time).outputs[0].kind == "variance"


def test_outputs_may_be_empty_for_some_samples() -> None:
    runs = [[np.zeros((0, 4), np.float32)], [np.eye(4, dtype=np.float32)]]
    assert [(o.kind, o.value) for o in Reference(["p"], {"p": -1}, runs).compare(runs).outputs] == [("decisions", 0.0)]
