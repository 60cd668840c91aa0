"""Names and edges of a model: every graph and subgraph, which name a node input means, and who uses it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

Key = tuple[int, str]  # index of the defining scope, and the name in it


@dataclass(frozen=True, eq=False)
class Scope:
    """One graph or subgraph, with the names that it defines itself."""

    index: int
    graph: GraphProto
    path: str  # "" for the main graph, else e.g. "then_branch of If_7"
    parent: Scope | None
    names: set[str]
    owner: NodeProto | None = None  # the node that a subgraph belongs to


@dataclass(frozen=True, eq=False)
class Site:
    """One input of one node."""

    scope: Scope
    node: NodeProto
    input: int


@dataclass(eq=False)
class Edges:
    """Who makes and who uses every value; outer-scope names are resolved, inner names shadow outer ones."""

    scopes: list[Scope] = field(default_factory=list)
    users: dict[Key, list[Site]] = field(default_factory=dict)
    producers: dict[Key, NodeProto] = field(default_factory=dict)
    constants: dict[Key, TensorProto] = field(default_factory=dict)  # initializers, then Constant nodes
    results: set[Key] = field(default_factory=set)  # values that are outputs of some graph

    def key(self, scope: Scope, name: str) -> Key | None:
        """The value that ``name`` means inside ``scope``."""
        inner: Scope | None = scope
        while inner is not None:
            if name in inner.names:
                return inner.index, name
            inner = inner.parent
        return None

    def redirect(self, old: Key, new: Key) -> bool:
        """Makes all users of one value use another; False, and nothing done, where a name is in the way."""
        sites = self.users.get(old, [])
        if old in self.results or any(self.key(site.scope, new[1]) != new for site in sites):
            return False
        for site in sites:
            site.node.input[site.input] = new[1]
        self.users.setdefault(new, []).extend(self.users.pop(old, []))
        return True


def domain(node: NodeProto) -> str:
    """The operator domain, "" for standard ONNX under either of its names."""
    return "" if node.domain == "ai.onnx" else node.domain


def label(node: NodeProto) -> str:
    """How messages call a node."""
    return node.name or f"{node.op_type} -> {next((name for name in node.output if name), 'nothing')}"


def constant_value(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node."""
    if node.op_type == "Constant" and domain(node) == "":
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
                tensor: TensorProto = attribute.t
                return tensor
    return None


def bodies(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The subgraphs of a node, with the names of their attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            for position, graph in enumerate(attribute.graphs):
                yield f"{attribute.name}[{position}]", graph


def defined(graph: GraphProto) -> set[str]:
    """The names that this graph defines, subgraphs not included."""
    names = {value.name for value in graph.input}
    names.update(tensor.name for tensor in graph.initializer)
    names.update(tensor.values.name for tensor in graph.sparse_initializer)
    names.update(name for node in graph.node for name in node.output)
    names.discard("")
    return names


def walk(model: ModelProto) -> list[Scope]:
    """All graphs of the model (not those in functions): each before its subgraphs, in node order."""
    scopes: list[Scope] = []
    _visit(model.graph, "", None, None, scopes)
    return scopes


def _visit(graph: GraphProto, path: str, parent: Scope | None, owner: NodeProto | None, scopes: list[Scope]) -> None:
    # No function inside of walk: it would hold itself, and with it the model, until garbage is collected.
    scope = Scope(len(scopes), graph, path, parent, defined(graph), owner)
    scopes.append(scope)
    for node in graph.node:
        for name, body in bodies(node):
            inner = f"{name} of {label(node)}"
            _visit(body, f"{path}/{inner}" if path else inner, scope, node, scopes)


def edges(model: ModelProto) -> Edges:
    """Resolves every name of the model."""
    found = Edges(walk(model))
    for scope in found.scopes:
        given = {value.name for value in scope.graph.input} if scope.parent else set()  # set by the outer node
        found.constants.update(
            ((scope.index, item.name), item) for item in scope.graph.initializer if item.name not in given
        )
        for node in scope.graph.node:
            tensor = constant_value(node)
            if tensor is not None:
                found.constants[scope.index, node.output[0]] = tensor
            for position, name in enumerate(node.input):
                key = found.key(scope, name) if name else None
                if key is not None:
                    found.users.setdefault(key, []).append(Site(scope, node, position))
            found.producers.update(((scope.index, name), node) for name in node.output if name)
        for value in scope.graph.output:
            key = found.key(scope, value.name)
            if key is not None:
                found.results.add(key)
    return found


def used_names(model: ModelProto) -> set[str]:
    """Every value, tensor and node name in any graph of the model."""
    names: set[str] = set()
    for scope in walk(model):
        names |= scope.names
        names.update(value.name for value in scope.graph.output)
        for node in scope.graph.node:
            names.add(node.name)
            names.update(node.input)
    names.discard("")
    return names


def unique_name(wanted: str, taken: set[str]) -> str:
    """``wanted``, or with a number behind where that is taken; the result counts as taken from now on."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def unsorted_node(graph: GraphProto, outer: frozenset[str] = frozenset()) -> str | None:
    """The first node that reads a name before it is made (or never made), None when all is in order."""
    made = set(outer) | {value.name for value in graph.input}
    made.update(tensor.name for tensor in graph.initializer)
    made.update(tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        if any(name and name not in made for name in node.input):
            return label(node)
        for _, body in bodies(node):
            bad = unsorted_node(body, frozenset(made))
            if bad is not None:
                return bad
        made.update(node.output)
    return None


def reads(node: NodeProto) -> set[str]:
    """Names that a node, subgraphs included, takes from the graph it stands in."""
    names = set(node.input)
    for _, body in bodies(node):
        names |= free_names(body)
    names.discard("")
    return names


def free_names(graph: GraphProto) -> set[str]:
    """Names that a subgraph takes from outside."""
    names = {value.name for value in graph.output}
    for node in graph.node:
        names |= reads(node)
    return names - defined(graph)


def remove_dead(graph: GraphProto) -> int:
    """Removes nodes, initializers and notes on values that nothing in this graph needs; subgraphs as well."""
    needed = {value.name for value in graph.output}
    keep: list[bool] = []
    for node in reversed(graph.node):
        live = not any(node.output) or any(name in needed for name in node.output)
        keep.append(live)
        if live:
            needed |= reads(node)
    changes = 0
    for position, live in zip(range(len(graph.node) - 1, -1, -1), keep, strict=True):
        if not live:
            del graph.node[position]
            changes += 1
    changes += sum(remove_dead(body) for node in graph.node for _, body in bodies(node))
    changes += _remove_orphans(graph)
    if changes:
        names = defined(graph)
        for position in range(len(graph.value_info) - 1, -1, -1):
            if graph.value_info[position].name not in names:
                del graph.value_info[position]
    return changes


def _remove_orphans(graph: GraphProto) -> int:
    needed = {value.name for value in graph.output}.union(value.name for value in graph.input)
    for node in graph.node:
        needed |= reads(node)
    dead = [i for i, tensor in enumerate(graph.initializer) if tensor.name not in needed]
    for position in reversed(dead):
        del graph.initializer[position]
    return len(dead)
