"""Channel removal: every saliency and compensation, also where groups and the channels in them read one input."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small_graphs import build, gaussian

from onnxsqueeze.errors import PassError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.verify.tensors import signature_of

SAMPLES = [{"x": gaussian(1, 3, 8, 8, seed=i)} for i in range(3)]


def grouped() -> onnx.ModelProto:
    return build(
        "(float[1,3,8,8] x) => (float[a,b] y) { h = Conv(x, first)  r = Relu(h)  k = Conv <group=4> (r, second)"
        "  s = Relu(k)  t = ConvTranspose <group=4> (s, third, bias)  p = GlobalAveragePool(t)  f = Flatten(p)"
        "  y = MatMul(f, last) }",
        first=gaussian(32, 3, 1, 1),
        second=gaussian(32, 8, 3, 3),
        third=gaussian(32, 6, 2, 2),
        bias=gaussian(24),
        last=gaussian(24, 5),
    )


@pytest.mark.parametrize("saliency", ["l1", "l2", "lp", "energy", "bn-scale", "median", "random", "activation"])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_saliencies_of_grouped_convolutions(saliency: str, scope: str) -> None:
    check(f"channels{{ratio=0.5 saliency={saliency} scope={scope}}}")


@pytest.mark.parametrize("saliency", ["apoz", "taylor"])
@pytest.mark.parametrize("compensate", ["none", "mean", "least-squares"])
def test_saliencies_from_data_with_compensation(saliency: str, compensate: str) -> None:
    check(f"channels{{ratio=0.5 saliency={saliency} compensate={compensate}}}")


def check(text: str) -> None:
    model = grouped()
    view = Model.load(model)
    (step,) = parse(text, PASSES)
    assert step(view, Context(calibration=SAMPLES)) > 0
    onnx.checker.check_model(view.proto, full_check=True)
    assert signature_of(view.proto) == signature_of(model)
    sizes = [sum(np.prod(tensor.dims) for tensor in proto.graph.initializer) for proto in (view.proto, model)]
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize("option", ["saliency=taylor", "compensate=mean"])
def test_what_needs_data_says_which_option_does(option: str) -> None:
    (step,) = parse(f"channels{{ratio=0.5 {option}}}", PASSES)
    with pytest.raises(PassError, match=f"{option} needs calibration inputs"):
        step(Model.load(grouped()), Context())
