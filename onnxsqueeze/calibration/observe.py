"""Looks at values inside a model while samples run through it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from onnxsqueeze.calibration.expose import expose
from onnxsqueeze.calibration.session import open_session, run

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
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        path = Path(folder) / "model.onnx"
        model.save(path, durable=False)
        proto = onnx.load(path, load_external_data=False)
        names = expose(proto, [(0, value) for value in values])
        path.write_bytes(proto.SerializeToString())
        session = open_session(path, 1)  # so that results do not depend on the number of threads
        found: list[list[Taken]] = [[] for _ in values]
        for feed in feeds:
            outputs = run(session, [name for name in names if name is not None], feed)
            for taken, value in zip(found, outputs, strict=True):
                taken.append(take(value))
    return found


def zeros(value: Array) -> float:
    """The share of a value's elements that are zero."""
    return 1 - float(np.count_nonzero(value)) / max(1, value.size)
