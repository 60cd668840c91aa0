"""The text of a grid: ``prune{sparsity=0.3..0.9}|share{bits=3..8}`` stands for every combination of its values.

A grid is written like a pipeline, with several values for an option. ``|`` and ``,`` both stand between passes, which
run in order. The values of an option are

- ``low..high``: from low to high, both included, in steps of one unit of the last decimal that is written (``3..5`` is
  3, 4, 5; ``0.3..0.5`` is 0.3, 0.4, 0.5);
- ``low..high:step``: the same in steps of ``step``;
- ``[value value …]``: a list, for words and uneven numbers.

The combinations are those of all options of all passes: the number of pipelines is the product of the numbers of
values. Several grids are tried one after the other.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from onnxsqueeze.errors import PipelineError
from onnxsqueeze.pipeline.text import Table, parse, to_text

MOST = 1000  # pipelines

_STAGE = re.compile(r"\s*([^\s,|{}]+)\s*(?:\{([^{}]*)\})?\s*([,|]|$)")
_OPTION = re.compile(r"[\s,]*([^\s,=\[\]]+)=(\[[^\[\]]*\]|[^\s,\[\]]+)")
_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")


def expand(grids: Iterable[str], table: Table) -> list[str]:
    """The pipelines that grids stand for, in order and each once; raises PipelineError."""
    found: dict[str, None] = {}
    for text in grids:
        stages = _stages(text)
        count = math.prod(len(stage) for stage in stages)
        if len(found) + count > MOST:
            raise PipelineError(
                f"'{text}' stands for {count:,} pipelines, and at most {MOST:,} are tried; take fewer values, or a "
                "larger step: 0.1..0.9:0.2"
            )
        for choice in itertools.product(*stages):
            found[to_text(parse(",".join(choice), table), table)] = None
    return list(found)


def _stages(text: str) -> list[list[str]]:
    """For each pass every way in which it is written."""
    stages: list[list[str]] = []
    position, separator = 0, "|"
    while separator:
        match = _STAGE.match(text, position)
        if match is None:
            raise PipelineError(
                f"cannot read the grid at '{text[position:]}'; write it like "
                "prune{sparsity=0.3..0.9}|share{bits=3..8}"
            )
        options = _options(match[2] or "", match[1])
        stages.append([_written(match[1], choice) for choice in itertools.product(*options)])
        position, separator = match.end(), match[3]
        if math.prod(len(stage) for stage in stages) > MOST**2:
            break  # too many, whatever follows
    return stages


def _written(name: str, options: Sequence[str]) -> str:
    return f"{name}{{{' '.join(options)}}}" if options else name


def _options(text: str, name: str) -> list[list[str]]:
    """For each option every ``key=value``."""
    options, position = [], 0
    while text[position:].strip(" ,\t\n"):
        match = _OPTION.match(text, position)
        if match is None:
            raise PipelineError(
                f"cannot read '{text[position:].strip()}' in {name}; write option=value, option=low..high or "
                "option=[value value]"
            )
        options.append([f"{match[1]}={value}" for value in _values(match[2], f"{name}{{{match[0].strip()}}}")])
        position = match.end()
        if math.prod(map(len, options)) > MOST:
            raise PipelineError(f"'{name}' stands for over {MOST:,} variants; take fewer values, or a larger step")
    return options


def _values(text: str, where: str) -> list[str]:
    if text.startswith("["):
        values = text[1:-1].replace(",", " ").split()
        if not values:
            raise PipelineError(f"the list in {where} is empty; name at least one value")
        return values
    if match := _RANGE.fullmatch(text):
        return _range(match[1], match[2], match[3], where)
    if ".." in text:
        raise PipelineError(f"'{text}' in {where} is no range; write low..high or low..high:step, in numbers")
    return [text]


def _range(first: str, last: str, written_step: str | None, where: str) -> list[str]:
    try:
        low, high = Decimal(first), Decimal(last)
        places = max(-int(value.as_tuple().exponent) for value in (low, high))
        step = Decimal(written_step) if written_step else Decimal(1).scaleb(-max(0, places))
        if step <= 0 or low > high:
            raise PipelineError(f"the range in {where} must rise, in steps above 0")
        steps = (high - low) / step
    except ArithmeticError:
        raise PipelineError(f"a number in {where} is out of range") from None
    if steps >= MOST:
        raise PipelineError(f"the range in {where} has over {MOST:,} values; add a larger step: low..high:step")
    return [format(low + step * i, "f") for i in range(int(steps) + 1)]
