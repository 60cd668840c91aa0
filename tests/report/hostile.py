"""A model whose every name tries to break out of what it is written into, and the reports on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnxsqueeze

NAMES = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\" onmouseover=\"document.title='owned'",
    "' autofocus onfocus='document.title=`owned`",
    "</style><svg/onload=document.title='owned'>",
    "{{ 7 * 7 }}{% raw %}",
    "]]><!--",
    "[red]bold[/red] | `pipe` | [link](javascript:alert(1)) <b>",
    "\u202egnp.exe \u0000\u0007\x1b[31m\nnew line",
    "n" * 5000,
)


def model() -> onnx.ModelProto:
    """Matrix products in a row, each with a hostile name for weight, node and value."""
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for number, name in enumerate(NAMES):
        weights.append(numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32) / 8, name))
        target = f"{name} y" if number < len(NAMES) - 1 else NAMES[0] + "y"
        nodes.append(helper.make_node("MatMul", [value, name], [target], name=name))
        value = target
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, 64])
    graph = helper.make_graph(nodes, NAMES[0], [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def files(folder: Path) -> tuple[Path, Path]:
    """The model and its compressed version, under file names that are hostile as well."""
    before, after = folder / "<script>owned()<!--'\"&.onnx", folder / "`$(touch owned)`.onnx"
    onnx.save(model(), before)
    onnxsqueeze.compress(before, after, "prune{sparsity=0.5},share{bits=4},huffman")
    return before, after
