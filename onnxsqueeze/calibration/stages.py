"""The order in which weights can be measured: each after all that flows into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsqueeze.calibration.matrices import Reading
from onnxsqueeze.model.graphs import Scope, walk

if TYPE_CHECKING:
    from onnxsqueeze.model import Model


@dataclass(frozen=True)
class Stage:
    """Weights that are measured together: nodes of the main graph up to ``needed`` make what flows into them."""

    names: tuple[str, ...]
    first: int  # place of the first node that uses one of them
    needed: int  # nodes to run


def stages(model: Model, found: Mapping[str, Sequence[Reading]]) -> list[Stage]:
    """Groups weights so that no group's inputs depend on the group itself, as far as that is possible."""
    places = _Places(model)
    spans = {name: places.span(listed) for name, listed in found.items()}
    made: list[Stage] = []
    for name in sorted(spans, key=lambda n: spans[n]):
        first, needed = spans[name]
        last = made[-1] if made else None
        if last and (needed <= last.first or first == last.first):
            made[-1] = Stage((*last.names, name), last.first, max(last.needed, needed))
        else:
            made.append(Stage((name,), first, needed))
    return made


class _Places:
    """Where nodes stand in the main graph, and which of them makes a value."""

    def __init__(self, model: Model) -> None:
        self._scopes = walk(model.proto)
        self._nodes = list(self._scopes[0].graph.node)
        self._place = {id(node): i for i, node in enumerate(self._nodes)}
        self._makers = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}

    def span(self, listed: Sequence[Reading]) -> tuple[int, int]:
        """Place of the first node that uses a weight, and how many nodes make all that flows into it."""
        firsts, needed = [], []
        for reading in listed:
            place = self._of(reading)
            firsts.append(place)
            if reading.value is None or reading.value[0] != 0:
                needed.append(place + 1)
            else:
                needed.append(self._makers.get(reading.value[1], -1) + 1)
        return min(firsts), max(needed)

    def _of(self, reading: Reading) -> int:
        """The place of a node, or of the node of the main graph that it is inside of."""
        node, scope = reading.node, self._scopes[reading.scope]
        while scope.parent is not None and scope.owner is not None:
            node, scope = scope.owner, _parent(scope)
        return self._place[id(node)]


def _parent(scope: Scope) -> Scope:
    assert scope.parent is not None
    return scope.parent
