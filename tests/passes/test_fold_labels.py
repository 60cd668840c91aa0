"""Remarks of exporters go; what programs read stays."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper, parser

from onnxsqueeze.model import Model
from onnxsqueeze.passes.fold import Fold


def test_what_exporters_remark_goes_and_what_programs_read_stays() -> None:
    made = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17]> g (float[n,8] x) => (float[n,8] y) { a = Relu(x) y = Add(a, w) }'
    )
    made.graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), "w"))
    for one in (*made.graph.node, made.graph.initializer[0], made.graph.input[0], made.graph, made):
        one.doc_string = "remark"
        one.metadata_props.add(key="pkg.stack_trace", value="File home.py, line 1")
    model = Model.load(made)
    assert Fold()(model, None) >= 3
    graph = model.proto.graph
    assert not any(one.doc_string or one.metadata_props for one in (*graph.node, *graph.initializer))
    assert all(one.doc_string and one.metadata_props for one in (graph.input[0], graph, model.proto))
