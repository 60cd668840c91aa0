"""The work of every node that the walk met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxsqueeze.cost.fusion import hosts
from onnxsqueeze.cost.operators import Work, work_of
from onnxsqueeze.cost.values import Step, Value
from onnxsqueeze.cost.workload import NodeWork, WeightWork
from onnxsqueeze.model.graphs import domain


def work_of_step(step: Step) -> int:
    """MACs and operations of a step, all its runs together."""
    work = work_of(step)
    return 0 if work is None or step.folded else step.runs * (16 * work.macs + work.operations + 1)


def node_works(steps: Sequence[Step], weights: Mapping[str, WeightWork]) -> list[NodeWork]:
    """One record a step; a weight's stored bytes count with the first node that runs with it."""
    inside = hosts(steps)
    counted: set[str] = set()
    return [_node(step, work_of(step), weights, inside, counted) for step in steps]


def _node(
    step: Step,
    work: Work | None,
    weights: Mapping[str, WeightWork],
    inside: Mapping[str, str],
    counted: set[str],
) -> NodeWork:
    status = _status(step, work, inside)
    work = work or Work("free")
    constant = [v for v in step.inputs if v is not None and v.constant and v.weights]
    names = tuple(dict.fromkeys(w for v in constant for w in v.weights if w in weights))
    heavy = [v for v in constant if any(w in weights for w in v.weights)]
    zeros = {v.key: _zeros(v, weights) for v in heavy}
    elements, nbytes = sum(v.elements for v in heavy), sum(v.nbytes for v in heavy)
    main = step.inputs[work.weight] if 0 <= work.weight < len(step.inputs) else None
    dense = 1.0
    if main is not None and main.key in zeros and main.elements:
        dense = 1 - zeros[main.key] / main.elements
    activations = [v for v in step.inputs if v is not None and not v.constant]
    out = next((v for v in step.outputs if v is not None), None)
    output_nbytes = sum(v.nbytes for v in step.outputs if v is not None)
    first = {v.key: v for v in activations}.values()
    read = sum(v.nbytes for v in first)
    share = 1.0
    if work.looked_up and step.inputs and step.inputs[0] is not None:
        table = step.inputs[0]
        part = min(1.0, (out.nbytes if out else 0) / table.nbytes) if table.nbytes else 1.0
        if table.constant:
            share = part
        else:
            read -= int((1 - part) * table.nbytes)
    mine = () if status == "folded" else tuple(w for w in names if w not in counted)
    counted.update(mine)
    runs = 0 if status == "folded" else step.runs
    free = work.kind == "free"
    return NodeWork(
        name=step.name,
        op=step.node.op_type,
        domain=domain(step.node),
        kind=work.kind,
        runs=runs,
        macs=runs * work.macs,
        nonzero_macs=round(runs * work.macs * dense),
        operations=runs * work.operations,
        input_nbytes=0 if free else runs * read,
        output_nbytes=0 if free else runs * output_nbytes,
        weights=names,
        weight_elements=elements,
        weight_nbytes=nbytes,
        stored_nbytes=sum(weights[w].stored_nbytes for w in mine),
        read_share=share,
        zeros=sum(zeros.values()),
        bits=_bits(step),
        output_shape=(out.shape or ()) if out is not None else (),
        rows=work.macs // main.elements if main is not None and main.elements else 0,
        status=status,
        host=inside.get(step.name, ""),
    )


def _status(step: Step, work: Work | None, inside: Mapping[str, str]) -> str:
    if step.folded:
        return "folded"
    if work is None:
        return "uncovered"
    return "fused" if step.name in inside else "runs"


def _zeros(value: Value, weights: Mapping[str, WeightWork]) -> int:
    """Zeros of a constant that is one weight, moved or reshaped at most."""
    sources = [weights[w] for w in value.weights if w in weights]
    return sources[0].zeros if len(sources) == 1 and sources[0].elements == value.elements else 0


def _bits(step: Step) -> int:
    return max((v.bits for v in (*step.inputs[:1], *step.outputs[:1]) if v is not None), default=32)
