"""Variants of a model on samples: what is asked of several counts at once is what each would say alone."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper, parser

from onnxsqueeze.calibration.trial import Proof, Trial
from onnxsqueeze.model import Model

GRAPH = '<ir_version: 8, opset_import: ["" : 17]> g (float[n,16] x) => (float[n,4] y) { y = MatMul(x, w) }'


def test_several_counts_tell_what_each_would_alone() -> None:
    rng = np.random.default_rng(0)
    proto = parser.parse_model(GRAPH)
    weight = rng.standard_normal((16, 4)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model, feeds = Model.load(proto), [{"x": rng.standard_normal((3, 16)).astype(np.float32)} for _ in range(6)]
    trial, first = Trial(model, feeds, 2), Trial(model, feeds[:2], 1)
    next(iter(model.weights(1))).assign(weight + rng.standard_normal(weight.shape).astype(np.float32) / 4)
    few, every = trial.losses(model, (2, None))
    assert few == trial.loss(model, 2) == first.loss(model)
    assert every == trial.loss(model) != few
    assert few.value > 0
    assert Proof(trial, 2).loss(model) == max(few.value, every.bound)
