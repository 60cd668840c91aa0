"""How much samples can tell: too few of them, or all the same; inputs that they leave at zero; and decisions of which
not one may change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxsqueeze.calibration.samples import HELD_OUT
from onnxsqueeze.pipeline.store import digest_of_arrays

if TYPE_CHECKING:
    from onnxsqueeze.calibration.loss import OutputLoss

FEWEST = 4  # samples, of which some are fitted to, others steer, and others are held out


def different(feeds: Sequence[Any]) -> int:
    """Samples that are not the same as another one."""
    return len({digest_of_arrays(feed) for feed in feeds})


def lacking(feeds: Sequence[Any]) -> str:
    """What keeps samples from telling what others would lose, in words; empty where there is nothing."""
    count, found = len({id(feed) for feed in feeds}), different(feeds)
    if found >= FEWEST:
        return ""
    told = "1 sample" if count == 1 else f"{count:,} samples"
    if found < count:
        told += ", all the same," if found == 1 else f", {found} of them different,"
    verb = "is" if count == 1 else "are"
    return f"{told} {verb} too few to tell what others would lose; give at least {FEWEST} different ones, better 100"


def constant(feeds: Sequence[Any]) -> list[str]:
    """Float inputs of many elements that are zero in all samples."""
    return [
        name
        for name, value in feeds[0].items()
        if value.dtype.kind == "f" and value.size > 1 and not any(np.any(feed.get(name, 0)) for feed in feeds)
    ]


def silent(names: Sequence[str]) -> str:
    """That these weights change no output on the samples, in words."""
    told = f"'{names[0]}' and {len(names) - 1} more change" if len(names) > 1 else f"'{names[0]}' changes"
    return f"{told} no output on these samples"


def indivisible(outputs: Sequence[OutputLoss], judged: int, limit: float) -> Iterator[str]:
    """Of outputs with so few decisions that not one may change, in words; ``judged``: samples that they are from."""
    for output in outputs:
        if output.kind == "decisions" and 0 < output.count * limit < 1:
            decisions = "1 decision is" if output.count == 1 else f"{output.count:,} decisions are"
            needed = HELD_OUT * ceil(judged / (output.count * limit))
            yield (
                f"{decisions} judged of '{output.output}': {100 * limit:g} % of that is less than one, so that not one "
                f"may change; {needed:,} samples, of which a part is judged, would allow more"
            )
