"""The text of a pipeline: ``fold,prune{sparsity=0.7 granularity=2:4},share{bits=5},huffman`` and back."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from onnxsqueeze.errors import PipelineError

Table = Mapping[str, type[Any]]

_STEP = re.compile(r"\s*([^\s,{}]+)\s*(?:\{([^{}]*)\})?\s*(?:,|$)")
_WORDS = {"true": True, "false": False, "yes": True, "no": False}


def parse(text: str, table: Table) -> tuple[Any, ...]:
    """The passes that a pipeline's text names, in order; raises PipelineError."""
    passes = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise PipelineError(
                f"cannot read the pipeline at '{text[position:]}'; write it like prune,share{{bits=5}},huffman"
            )
        passes.append(_make(match[1], match[2] or "", table))
        position = match.end()
    if not passes or text.rstrip().endswith(","):
        raise PipelineError("the pipeline is empty or ends in a comma; name at least one pass, e.g. share,huffman")
    return tuple(passes)


def to_text(passes: Sequence[Any], table: Table) -> str:
    """The text that ``parse`` reads back into equal passes; options at their defaults are left out."""
    return ",".join(_step_text(p, table) for p in passes)


def pass_name(step: Any, table: Table) -> str:
    """The name under which the pass stands in the table."""
    return next(name for name, kind in table.items() if kind is type(step))


def option_text(value: Any) -> str:
    """An option's value as it is written in a pipeline."""
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _step_text(step: Any, table: Table) -> str:
    options = [
        f"{f.name}={option_text(getattr(step, f.name))}"
        for f in dataclasses.fields(step)
        if getattr(step, f.name) != f.default
    ]
    return pass_name(step, table) + (f"{{{' '.join(options)}}}" if options else "")


def _unknown(what: str, name: str, known: Sequence[str]) -> PipelineError:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
    return PipelineError(f"unknown {what} '{name}'; {hint}")


def _make(name: str, options: str, table: Table) -> Any:
    if name not in table:
        raise _unknown("pass", name, list(table))
    kind = table[name]
    hints = typing.get_type_hints(kind)
    values = {}
    for word in options.replace(",", " ").split():
        key, equals, value = word.partition("=")
        if key not in hints:
            raise _unknown(f"option of {name}", key, [f.name for f in dataclasses.fields(kind)])
        if not equals:
            raise PipelineError(f"option '{key}' of {name} has no value; write {key}=…")
        if key in values:
            raise PipelineError(f"option '{key}' of {name} is given twice; give it once")
        values[key] = _convert(value, hints[key], f"{name}{{{word}}}")
    try:
        return kind(**values)
    except ValueError as error:
        raise PipelineError(f"{name}: {error}") from None


def _convert(value: str, hint: Any, where: str) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value.lower() == "none" and type(None) in kinds:
        return None
    for kind in kinds:
        try:
            if kind is bool and value.lower() in _WORDS:
                return _WORDS[value.lower()]
            if kind in (int, float):
                return kind(value)
            if kind is str:
                return value
        except ValueError:
            continue
    wanted = " or ".join({type(None): "none", bool: "true or false"}.get(k, k.__name__) for k in kinds)
    raise PipelineError(f"'{value}' in {where} is not a value of type {wanted}")
