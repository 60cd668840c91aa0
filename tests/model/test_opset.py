"""Raising the opset keeps what a model computes and all that is not a node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper, parser

from onnxsqueeze.model import Model

RNG = np.random.default_rng(3)


def old(text: str, opset: int = 9, **tensors: np.ndarray[Any, Any]) -> onnx.ModelProto:
    model = parser.parse_model(f"""
        <ir_version: 4, opset_import: ["" : {opset}, "com.microsoft" : 1],
         doc_string: "kept", metadata_props: ["a": "b"]> {text}""")
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def run(model: onnx.ModelProto, **feeds: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    return list(ort.InferenceSession(model.SerializeToString()).run(None, feeds))


MANY = """g (float[1,3,8,8] x, bool c) => (float[N,M,A,B] y) {
    a = Conv<pads=[1,1,1,1]>(x, w)
    s = Softmax<axis=1>(a)
    u = Upsample<mode="linear">(s, scales)
    q = Squeeze<axes=[0]>(u)
    r = Slice<starts=[0], ends=[3], axes=[0]>(q)
    p = Pad<pads=[0,1,0,0,0,0]>(r)
    k = com.microsoft.Gelu(p)
    z = Unsqueeze<axes=[0]>(k)
    y = If(c) <
        then_branch = t () => (float[A1,B1,C1,D1] o) {
            h = Constant()  n = ReduceSum<axes=[1]>(z)  o = Mul(n, h)
        },
        else_branch = e () => (float[A2,B2,C2,D2] o) { o = Clip<min=0.0, max=0.2>(z) }
    >
}"""


def many() -> onnx.ModelProto:
    weight = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    model = old(MANY, w=weight, scales=np.array([1, 1, 2, 3], np.float32))
    then = next(a.g for a in model.graph.node[-1].attribute if a.name == "then_branch")
    value = numpy_helper.from_array(RNG.standard_normal((1, 3, 1, 24)).astype(np.float32).repeat(17, 2), "h")
    then.node[0].attribute.append(helper.make_attribute("value", value))
    model.graph.node[0].doc_string = "a note"
    model.graph.node[-1].name = "If_7"
    return model


@pytest.mark.parametrize("choice", [True, False])
def test_outputs_stay(choice: bool) -> None:
    proto = many()
    feeds = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32), "c": np.array(choice)}
    before = run(proto, **feeds)
    model = Model.load(proto)
    names = [weight.name for weight in model.weights()]
    assert len(names) == 2
    assert model.raise_opset(13)
    assert model.opset == 13
    assert [weight.name for weight in model.weights()] == names
    model.check()
    np.testing.assert_allclose(run(model.proto, **feeds)[0], before[0], rtol=1e-6, atol=1e-6)
    assert (model.proto.doc_string, model.proto.metadata_props[0].key) == ("kept", "a")
    assert model.proto.graph.node[0].doc_string == "a note"
    assert {entry.domain for entry in model.proto.opset_import} == {"", "com.microsoft"}


def test_a_newer_model_is_left() -> None:
    proto = old("g (float[8] x) => (float[8] y) { y = Relu(x) }", 17)
    model = Model.load(proto)
    before = model.proto.SerializeToString()
    assert model.raise_opset(13)
    assert model.proto.SerializeToString() == before


def test_what_cannot_be_converted_is_left() -> None:
    text = 'g (float[1,1,8,8] x) => (float[a,b,c,d] y) { y = Upsample<mode="nearest">(x, scales) }'
    model = Model.load(old(text, scales=np.array([1, 1, 0.5, 0.5], np.float32)))
    before = model.proto.SerializeToString()
    assert not model.raise_opset(13)
    assert model.proto.SerializeToString() == before


def test_ir_is_only_raised() -> None:
    model = Model.load(old("g (float[8] x) => (float[8] y) { y = Relu(x) }"))
    model.raise_ir(8)
    assert model.proto.ir_version == 8
    model.raise_ir(7)
    assert model.proto.ir_version == 8


def test_inlining_decode_functions() -> None:
    proto = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "ai.onnxsqueeze" : 1]>
        g (float[2] x) => (float[2] y) { w = ai.onnxsqueeze.Two()  y = Mul(x, w) }
        <domain: "ai.onnxsqueeze", opset_import: ["" : 17]> Two () => (b) { b = Constant<value_float=2.0>() }
    """)
    model = Model.load(proto)
    assert model.is_packed
    assert model.inline()
    assert not model.is_packed
    assert run(model.proto, x=np.ones(2, np.float32))[0].tolist() == [2, 2]
