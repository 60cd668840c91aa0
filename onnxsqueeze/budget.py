"""What a user asks for, beside a pipeline: at most so much loss, or so many bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxsqueeze.errors import ModelError, PipelineError

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b)?", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True)
class Budget:
    """One of: the share of the outputs that may be lost, bytes of the file, dense bytes over compressed ones.

    ``score``: ``module:function`` that takes the path of a model and gives a number, the higher the better; the loss is
    then the share of the original's score that is lost.
    """

    max_loss: float | None = None
    target_size: int | None = None
    target_ratio: float | None = None
    score: str = ""

    def __post_init__(self) -> None:
        given = [v for v in (self.max_loss, self.target_size, self.target_ratio) if v is not None]
        if len(given) != 1:
            raise PipelineError("a budget is one of max_loss, target_size and target_ratio; give one of them")
        if self.max_loss is not None and not 0 < self.max_loss < 1:
            raise PipelineError(f"max_loss must be above 0 and below 1, not {self.max_loss:g}; 0.01 is 1 %")
        if self.target_size is not None and self.target_size < 1:
            raise PipelineError(f"target_size must be at least 1 byte, not {self.target_size}")
        if self.target_ratio is not None and not 1 < self.target_ratio < 1e6:
            raise PipelineError(f"target_ratio must be above 1, not {self.target_ratio:g}; 10 is a tenth of the size")

    def most(self, original_nbytes: int) -> int | None:
        """Bytes that the file may take; None where that is left open."""
        return int(original_nbytes / self.target_ratio) if self.target_ratio else self.target_size

    def passes(self, original_nbytes: int) -> str:
        """The pipeline that meets it."""
        size = self.most(original_nbytes)
        asked = f"loss={self.max_loss:.10g}" if size is None else f"size={size}"
        return f"fold,allocate{{{asked}{f' score={self.score}' if self.score else ''}}},huffman"

    def confirm(self, original_nbytes: int, nbytes: int) -> None:
        """Raises ModelError where a file is larger than asked for."""
        most = self.most(original_nbytes)
        if most is not None and nbytes > most:
            raise ModelError(f"the file takes {nbytes:,} bytes, more than the {most:,} asked for; nothing was written")


def share(text: str) -> float:
    """Reads ``1%`` or ``0.01``; raises ValueError with a sentence for the user."""
    match = _SHARE.fullmatch(text.strip())
    try:
        value = float(match[1]) / 100 if match else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ValueError(f"must be a share above 0 and below 1, such as 1% or 0.01, not '{text}'")
    return value


def nbytes(text: str) -> int:
    """Reads ``3MB``, ``500 kB`` or ``3000000``; raises ValueError with a sentence for the user."""
    match = _SIZE.fullmatch(text.strip())
    value = int(float(match[1]) * UNITS[(match[2] or "").lower()]) if match else 0
    if value < 1:
        raise ValueError(f"must be a size such as 3MB, 500kB or 3000000, not '{text}'")
    return value
