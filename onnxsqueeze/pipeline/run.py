"""Runs passes in order: measures, checks, and names what failed and what ran before it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxsqueeze.encode import Note, best_plan
from onnxsqueeze.errors import PassError, SqueezeError
from onnxsqueeze.pipeline.text import Table, pass_name, to_text

if TYPE_CHECKING:
    from onnxsqueeze.model import Model, Weight
    from onnxsqueeze.pipeline.context import Context


@dataclass(frozen=True)
class Step:
    """One pass as it ran; bytes are those of the weights as they would be stored."""

    name: str
    text: str
    changes: int
    nbytes_before: int
    nbytes_after: int
    seconds: float


def run(model: Model, passes: Sequence[Any], table: Table, context: Context) -> list[Step]:
    """Applies the passes in place; raises PassError naming the pass that failed and those that ran before it."""
    steps: list[Step] = []
    names = [pass_name(p, table) for p in passes]
    sizes = _Sizes(model, context)
    before = sizes.total()
    for number, step in enumerate(passes):
        started = time.perf_counter()
        own = dataclasses.replace(context, following=tuple(names[number + 1 :]))
        try:
            changes = step(model, own)
            model.check()
            model.compact()
        except SqueezeError as error:
            raise PassError(f"{names[number]} failed{_after(names[:number])}: {error}") from error
        seconds = time.perf_counter() - started
        after = sizes.total() if changes else before
        steps.append(Step(names[number], to_text([step], table), changes, before, after, seconds))
        before = after
    return steps


def _after(names: Sequence[str]) -> str:
    return f" after {', '.join(names)}" if names else ""


class _Sizes:
    """Bytes that the weights would take if the model were saved now."""

    def __init__(self, model: Model, context: Context) -> None:
        self._model, self._context = model, context

    def total(self) -> int:
        weights = self._model.weights()
        return sum(self._context.each("measure", _stored_nbytes, weights, lambda w: w.name))


def _stored_nbytes(weight: Weight) -> int:
    dense = weight.size * weight.dtype.itemsize
    if weight.note is None:
        return dense
    plan = best_plan(weight.values(), weight.note or Note())
    return plan.nbytes if plan else dense
