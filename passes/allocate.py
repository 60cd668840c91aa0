"""Rate–distortion allocation: every weight gets the grid that the whole model can bear, measured on samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsqueeze.passes.allocation import Allocation, Budget
from onnxsqueeze.passes.bounds import in_range, packable

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

LOSS = 0.01  # where nothing is asked for


@dataclass(frozen=True)
class Allocate:
    """Gives every weight a grid of its own: as few bytes as `loss` allows, or the least loss at a `size`.

    With calibration inputs the loss is measured: the share of decisions that change, or of variance unexplained;
    `score=module:function` measures a task's own. Without, relative errors of weights stand for it. `size`: bytes of
    the whole file. Weights under `minimum` elements stay as they are.
    """

    loss: float | None = None
    size: int | None = None
    score: str = ""
    minimum: int = 256

    def __post_init__(self) -> None:
        in_range("loss", self.loss, 0, 1)
        in_range("size", self.size, 1, None)
        in_range("minimum", self.minimum, 64, None)
        if self.loss is not None and self.size is not None:
            raise ValueError("loss and size ask for different things; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        weights = packable(model, self.minimum, context, bool(context.calibration))
        if not weights:
            return 0
        loss = None if self.size is not None else LOSS if self.loss is None else self.loss
        return Allocation(model, weights, Budget(loss, self.size, self.score), context).run()
