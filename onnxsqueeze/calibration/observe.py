"""Looks at values inside a model while samples run through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.expose import expose
from onnxsqueeze.calibration.segments import open_part, part_of
from onnxsqueeze.calibration.session import run

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

Array = npt.NDArray[Any]
Taken = TypeVar("Taken")


def observe(
    model: Model, values: Sequence[str], feeds: Sequence[Mapping[str, Any]], take: Callable[[Array], Taken]
) -> list[list[Taken]]:
    """What ``take`` makes of each value of the main graph (float32) on each sample: one list a value.

    Raises ModelError where a sample does not run.
    """
    proto = part_of(model)
    names = expose(proto, [(0, value) for value in values])
    session = open_part(proto, model)
    found: list[list[Taken]] = [[] for _ in values]
    for feed in feeds:
        outputs = run(session, [name for name in names if name is not None], feed)
        for taken, value in zip(found, outputs, strict=True):
            taken.append(take(value))
    return found


def zeros(value: Array) -> float:
    """The share of a value's elements that are zero."""
    return 1 - float(np.count_nonzero(value)) / max(1, value.size)
