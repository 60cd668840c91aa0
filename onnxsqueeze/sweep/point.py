"""What one pipeline came to."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxsqueeze.compress import Result

LONGEST = 100  # characters of a file's name that come from the pipeline


@dataclass(frozen=True)
class Point:
    """Size and fidelity of one pipeline's output, or why there is none."""

    passes: str
    nbytes: int = 0
    error: float | None = None  # relative error of the worst output; None where outputs could not be compared
    cosine: float | None = None  # of the same output
    top1: float | None = None  # the least of all outputs that look like scores over classes
    seconds: float = 0.0
    problem: str = ""  # why there is no result
    kept: bool = False  # whether its model lies in the sweep's folder

    @property
    def file(self) -> str:
        """The name of its model, where that is kept: the pipeline, less what file systems do not take."""
        words = re.sub(r"[^\w.=]+", "-", self.passes).strip("-.")
        if len(words) > LONGEST:
            words = f"{words[:LONGEST]}-{hashlib.sha256(self.passes.encode()).hexdigest()[:8]}"
        return f"{words}.onnx"

    @property
    def place(self) -> tuple[float, float] | None:
        """Size and error; None where one of them is not known."""
        return None if self.problem or self.error is None else (float(self.nbytes), self.error)

    @staticmethod
    def of(result: Result, passes: str) -> Point:
        """What a compression came to."""
        found = result.verification
        worst = None if found is None else found.worst
        if found is None or worst is None or math.isnan(worst.relative_error):
            return Point(passes, result.compressed_nbytes, seconds=result.seconds)
        return Point(
            passes,
            result.compressed_nbytes,
            worst.relative_error,
            worst.cosine,
            min((f.top1 for f in found.outputs if f.top1 is not None), default=None),
            result.seconds,
        )
