"""The work of every node that the walk met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxsqueeze.cost.fusion import Fusion, fuse, users_of
from onnxsqueeze.cost.layout import reorders
from onnxsqueeze.cost.operators import Work, work_of
from onnxsqueeze.cost.patterns import Users
from onnxsqueeze.cost.values import Step, Value
from onnxsqueeze.cost.workload import NodeWork, WeightWork
from onnxsqueeze.model.graphs import domain


def work_of_step(step: Step) -> int:
    """A measure of a step's work that ranks branches."""
    work = work_of(step)
    return 0 if work is None or step.folded else step.runs * (16 * work.macs + work.operations + 1)


@dataclass(frozen=True)
class _Context:
    """What is known of all steps together."""

    steps: Sequence[Step]
    users: Users
    fusion: Fusion
    moved: Mapping[int, int]
    weights: Mapping[str, WeightWork]
    makers: Mapping[str, int]  # the step that makes a value
    counted: set[str]  # weights whose stored bytes an earlier node has


@dataclass(frozen=True)
class _Constants:
    """The weights that one step reads."""

    names: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()
    zeros: int = 0
    stored_nbytes: int = 0


def node_works(steps: Sequence[Step], weights: Mapping[str, WeightWork]) -> list[NodeWork]:
    """One record a step; a weight's stored bytes count with the first node that runs with it."""
    users = users_of(steps)
    fusion = fuse(steps, users)
    makers = {v.key: place for place, step in enumerate(steps) for v in step.outputs if v is not None}
    context = _Context(steps, users, fusion, reorders(steps, users, fusion), weights, makers, set())
    return [_node(place, context) for place in range(len(steps))]


def _node(place: int, context: _Context) -> NodeWork:
    step, fusion = context.steps[place], context.fusion
    work = fusion.works.get(place) or work_of(step)
    status = _status(place, work, context)
    work = work or Work("free")
    runs = 0 if status == "folded" else step.runs
    constants = _constants(step, status, context)
    share = _read_share(step, work)
    main = step.inputs[work.weight] if 0 <= work.weight < len(step.inputs) else None
    host = context.steps[fusion.group(place)].name if status == "fused" else ""
    out = next((v for v in step.outputs if v is not None), None)
    return NodeWork(
        name=step.name,
        op=step.node.op_type,
        domain=domain(step.node),
        kind=work.kind,
        runs=runs,
        macs=runs * work.macs,
        nonzero_macs=round(runs * work.macs * _density(main, context.weights)),
        padding=work.padding,
        operations=runs * work.operations,
        input_nbytes=runs * _read(place, work, context),
        output_nbytes=runs * _written(place, work, context),
        layout_nbytes=runs * context.moved.get(place, 0),
        weights=constants.names,
        weight_elements=sum(v.elements for v in constants.values),
        weight_nbytes=sum(v.nbytes for v in constants.values),
        stored_nbytes=constants.stored_nbytes,
        read_share=share,
        zeros=constants.zeros,
        bits=max((v.bits for v in (*step.inputs[:1], *step.outputs[:1]) if v is not None), default=32),
        output_shape=(out.shape or ()) if out is not None else (),
        pattern=_source_pattern(main, context.weights),
        rows=work.macs // main.elements if main is not None and main.elements else 0,
        status=status,
        host=host,
    )


def _status(place: int, work: Work | None, context: _Context) -> str:
    if context.steps[place].folded:
        return "folded"
    if work is None:
        return "uncovered"
    return "fused" if place in context.fusion.host else "runs"


def _constants(step: Step, status: str, context: _Context) -> _Constants:
    """Constants of weight among the inputs; those that an earlier node has read are not stored twice."""
    weights = context.weights
    values = {v.key: v for v in step.inputs if v is not None and v.constant}
    heavy = tuple(v for v in values.values() if any(w in weights for w in v.weights))
    names = tuple(dict.fromkeys(w for v in heavy for w in v.weights if w in weights))
    if status == "folded":
        return _Constants(names)
    mine = [w for w in names if w not in context.counted]
    context.counted.update(mine)
    zeros = sum(_zeros(v, weights) for v in heavy)
    return _Constants(names, heavy, zeros, sum(weights[w].stored_nbytes for w in mine))


def _zeros(value: Value, weights: Mapping[str, WeightWork]) -> int:
    """Zeros of a constant that is one weight, moved or reshaped at most."""
    sources = [weights[w] for w in value.weights if w in weights]
    return sources[0].zeros if len(sources) == 1 and sources[0].elements == value.elements else 0


def _density(main: Value | None, weights: Mapping[str, WeightWork]) -> float:
    """Share of a multiplied weight that is not zero."""
    if main is None or not main.constant or not main.elements:
        return 1.0
    return 1 - _zeros(main, weights) / main.elements


def _source_pattern(main: Value | None, weights: Mapping[str, WeightWork]) -> tuple[int, int] | None:
    """The N:M pattern of the weight that is multiplied, where it is one weight, reshaped at most."""
    sources = [weights[w] for w in main.weights if w in weights] if main is not None and main.constant else []
    return sources[0].pattern if len(sources) == 1 else None


def _read_share(step: Step, work: Work) -> float:
    table = step.inputs[0] if step.inputs else None
    if not work.looked_up or table is None or not table.constant or not table.nbytes:
        return 1.0
    return min(1.0, sum(v.nbytes for v in step.outputs if v is not None) / table.nbytes)


def _read(place: int, work: Work, context: _Context) -> int:
    """Bytes of activations that come from outside the group that the step runs in."""
    step, fusion = context.steps[place], context.fusion
    if work.kind == "free" and place not in fusion.host:
        return 0
    total = 0
    for position, value in enumerate(step.inputs):
        if value is None or value.constant or value.key in {v.key for v in step.inputs[:position] if v is not None}:
            continue
        maker = context.makers.get(value.key)
        if maker is not None and fusion.group(maker) == fusion.group(place):
            continue
        size = value.nbytes
        if work.looked_up and position == 0:
            size = min(size, sum(v.nbytes for v in step.outputs if v is not None))
        total += size
    return total


def _written(place: int, work: Work, context: _Context) -> int:
    """Bytes of activations that are read outside the group, or that nobody reads: the model's outputs."""
    step, fusion = context.steps[place], context.fusion
    if work.kind == "free" and place not in fusion.host:
        return 0
    group = fusion.group(place)
    total = 0
    for value in step.outputs:
        if value is not None:
            readers = context.users.get(value.key, [])
            if not readers or any(fusion.group(reader) != group for reader in readers):
                total += value.nbytes
    return total
