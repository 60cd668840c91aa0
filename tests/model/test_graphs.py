"""Names, edges and dead nodes."""

from __future__ import annotations

import onnx
from onnx import parser

from onnxsqueeze.model.graphs import edges, remove_dead, unique_name, unsorted_node, used_names, walk

NESTED = """<ir_version: 8, opset_import: ["" : 17]>
g (bool c, float[2] x) => (float[2] y) <float[2] k = {1, 2}, float[2] dead = {3, 4}> {
    used = Relu(x)
    unused = Relu(used)
    y = If(c) <
        then_branch = t () => (float[2] o) <float[2] k = {5, 6}> {
            o = If(c) <
                then_branch = tt () => (float[2] p) { p = Add(used, k) },
                else_branch = te () => (float[2] p) { p = Identity(x)  waste = Neg(p) }
            >
        },
        else_branch = e () => (float[2] o) { o = Add(used, k) }
    >
}"""


def nested() -> onnx.ModelProto:
    return parser.parse_model(NESTED)


def test_scopes_come_outer_first_with_their_paths() -> None:
    assert [scope.path for scope in walk(nested())] == [
        "",
        "then_branch of If -> y",
        "then_branch of If -> y/then_branch of If -> o",
        "then_branch of If -> y/else_branch of If -> o",
        "else_branch of If -> y",
    ]


def test_names_resolve_to_the_nearest_scope() -> None:
    wiring = edges(nested())
    inner, other = wiring.scopes[2], wiring.scopes[4]
    assert wiring.key(inner, "k") == (1, "k")
    assert wiring.key(other, "k") == (0, "k")
    assert wiring.key(inner, "nowhere") is None
    assert [site.node.op_type for site in wiring.users[0, "used"]] == ["Relu", "Add", "Add"]
    assert not wiring.redirect((0, "x"), (1, "k"))  # cannot be seen from the main graph


def test_order() -> None:
    model = nested()
    assert unsorted_node(model.graph) is None
    first = onnx.NodeProto()
    first.CopyFrom(model.graph.node[0])
    del model.graph.node[0]
    model.graph.node.append(first)
    assert unsorted_node(model.graph) == "Relu -> unused"


def test_dead_things_go_and_the_rest_stays() -> None:
    model = nested()
    assert remove_dead(model.graph) == 3  # unused, waste, dead
    assert [node.output[0] for node in model.graph.node] == ["used", "y"]
    assert [tensor.name for tensor in model.graph.initializer] == ["k"]
    assert remove_dead(model.graph) == 0
    onnx.checker.check_model(model)


def test_unique_names() -> None:
    taken = used_names(nested())
    assert {"x", "k", "waste", "p"} <= taken
    assert [unique_name("k", taken), unique_name("k", taken), unique_name("new", taken)] == [
        "k_2",
        "k_3",
        "new",
    ]
